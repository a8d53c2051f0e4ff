#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::certificate`.

fuzz::target!(fuzz::certificate);
