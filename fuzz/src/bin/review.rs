#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::review`.

fuzz::target!(fuzz::review);
