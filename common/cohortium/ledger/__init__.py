"""What an institution has spent, in a chain that can be verified, backed up and restored.

Here live the store of charges, in layers (``database``, ``chain``, ``accounts``, ``store``), receipts, backup and restoration.
It may import ``privacy`` and ``system``. It does not depend on what a study asks.
"""
