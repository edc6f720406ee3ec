"""What the operator wrote, compiled to one immutable snapshot, and the pure policies that decide on it."""
