#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::lint`.

fuzz::target!(fuzz::lint);
