#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::private_key`.

fuzz::target!(fuzz::private_key);
