//! Rules of the settings, read from flags.
