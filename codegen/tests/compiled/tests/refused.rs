//! What does not compile: a router's types are its service's.

#[test]
fn what_is_of_another_type_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
