"""What a released encoder makes of one video, for people to look at."""
