"""The programs: usage, arguments, main."""
