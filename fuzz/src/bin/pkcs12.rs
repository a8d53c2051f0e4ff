#![cfg_attr(fuzzing, no_main)]
//! See `fuzz::pkcs12`.

fuzz::target!(fuzz::pkcs12);
