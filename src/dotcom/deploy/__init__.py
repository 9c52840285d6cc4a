"""From a trained network to a file for a phone: the same function, in the form that runtimes like."""
