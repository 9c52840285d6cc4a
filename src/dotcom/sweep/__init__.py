"""Many runs of one question: which there are, what became of each, and how they are run."""
