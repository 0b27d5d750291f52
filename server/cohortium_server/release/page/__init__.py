"""The parts of the report: its template and style sheet, the facts of its sections, and their drawings."""
