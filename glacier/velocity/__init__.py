"""Tracking, pairs of scenes, velocity fields, and other people's velocities."""
