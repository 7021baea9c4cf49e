//! Environment variables to a validated configuration.
