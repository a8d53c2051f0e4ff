#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::jks`.

fuzz::target!(fuzz::jks);
