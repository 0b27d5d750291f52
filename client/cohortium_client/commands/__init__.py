"""The institution's commands, by what they are about."""
