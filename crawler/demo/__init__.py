"""The small web that `crawler demo` serves to itself: three shelves of books, on loopback only."""
