"""Filters: pure functions of a survey that say which stretches of a video, or parts of its picture, are not what one wants to train on."""
