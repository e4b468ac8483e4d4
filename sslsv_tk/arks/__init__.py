"""Packed audio and features: archives of bytes and exact reads of stretches."""
