#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::literal_subject`.

fuzz::target!(fuzz::literal_subject);
