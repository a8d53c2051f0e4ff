#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::pem`.

fuzz::target!(fuzz::pem);
