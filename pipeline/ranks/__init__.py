"""Many processes as one job: how they start, speak to one another, and end."""
