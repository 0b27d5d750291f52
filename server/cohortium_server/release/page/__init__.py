"""The rooms behind the report: its template and style sheet, the facts its sections tell, and their drawings."""
