//! The lines that a book needs for a canary, and how they come into force.

use portcullis_policy::book::Book;
use portcullis_policy::id::KeyLabel;

/// What to add, and what to type then.
pub(super) fn advice(book: &Book, label: &KeyLabel, chain: Option<&str>) -> String {
    format!(
        "the book has no rules for {label}, so nothing would be signed with it. Add these lines:\n\
         \n{}\nThen:\n  portctl policy show > book.toml     and add the lines at its end\n  \
         portctl policy check book.toml\n  portctl policy propose book.toml --reason \"rules for \
         the next drill\"\nThe rules of several labels (canary-1, canary-2, ..) can be proposed at \
         once: a label is used up by its drill.",
        lines(book, label, chain)
    )
}

/// Rules by which a canary may pay nothing to nobody. It never holds anything.
pub(super) fn lines(book: &Book, label: &KeyLabel, chain: Option<&str>) -> String {
    let registry = book.registry();
    let named = chain.and_then(|name| registry.chain_named(name));
    let first = || {
        let mut all = book.keys().flat_map(|(_, rules)| rules.chains.iter().copied());
        all.next()
    };
    let chain = named.or_else(first).and_then(|id| registry.chain(id));
    let (name, coin) =
        chain.map_or(("CHAIN", "COIN"), |chain| (chain.name.as_str(), chain.native.as_str()));
    let callers: Vec<String> = book.callers().map(|(caller, _)| caller.to_string()).collect();
    let (caller, remark) = match callers.as_slice() {
        [one] => (one.as_str(), String::new()),
        [first, ..] => (
            first.as_str(),
            format!("# The caller in your [data_plane] certificate: {}\n", callers.join(", ")),
        ),
        [] => ("CALLER", "# A caller needs a [caller.\"ID\"] entry as well.\n".to_owned()),
    };
    format!(
        "{remark}[key.{label}]\ncallers = [{caller:?}]\nchains = [{name:?}]\n\
         native = {{ to = \"anyone\", per_tx = \"0.1 {coin}\", window = \"100 {coin} / 1h\" }}\n\
         fees = {{ per_tx = \"0.1 {coin}\", window = \"100 {coin} / 1h\", max_priority_fee = \"0 \
         gwei\", counts_as = \"native\" }}\n\
         rate = {{ per_caller = \"unlimited\", per_key = \"unlimited\", parked = 1 }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = "version = 1\n[chain.ethereum]\nid = 1\nnative = \"ETH\"\n[group]\n\
        treasury = [\"alice\", \"bob\"]\n[caller.\"spiffe://acme/payouts\"]\nowners = [\"carol\"]\n\
        [key.hot]\ncallers = [\"spiffe://acme/payouts\"]\nchains = [\"ethereum\"]\n\
        native = { to = \"anyone\", per_tx = \"1 ETH\", window = \"1 ETH / 1h\" }\n\
        fees = { per_tx = \"1 ETH\", window = \"1 ETH / 1h\", max_priority_fee = \"5 gwei\", \
        counts_as = \"native\" }\nrate = { per_caller = \"9/s\", per_key = \"9/s\", parked = 1 }\n";

    #[test]
    fn the_lines_make_a_sound_book_in_which_the_canary_may_pay() {
        let (book, label) = (Book::parse(BOOK).expect("a book"), "canary-7".parse().expect("one"));
        for chain in [None, Some("ethereum")] {
            let text = format!("{BOOK}{}", lines(&book, &label, chain));
            let new = Book::parse(&text).expect("a sound book");
            assert!(new.rules(&label).is_some_and(|rules| rules.native.is_some()));
        }
        assert!(advice(&book, &label, None).contains("portctl policy propose"));
    }
}
