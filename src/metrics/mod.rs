//! Counters and histograms: looks on, never steers.
