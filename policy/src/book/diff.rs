use super::Book;
/// x
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// w
    pub wider: Vec<String>,
    /// n
    pub narrower: Vec<String>,
}
pub(super) fn difference(_: &Book, _: &Book) -> Difference {
    Difference::default()
}
