"""What each bridge is held against, and how."""
