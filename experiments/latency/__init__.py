"""The README's table on the phone, row by row, in the runtimes of this machine."""
