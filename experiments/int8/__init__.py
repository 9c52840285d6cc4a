"""What int8 costs in accuracy and gains in size and time, per runtime."""
