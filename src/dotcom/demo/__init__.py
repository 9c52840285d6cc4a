"""A page on this machine where one drops a picture and sees what a checkpoint makes of it."""
