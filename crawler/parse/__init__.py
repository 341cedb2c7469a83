"""What a body holds, found out in processes that may die."""
