//! What a rotation changes in the book, as text: comments, order and everything else stay as people
//! wrote them. The result is read again, and whatever else would differ refuses it.

use std::collections::BTreeMap;

use portcullis_policy::book::{Book, Faults};
use toml_edit::{Array, DocumentMut, Item, TableLike};

/// A book that cannot be rewritten by a program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookEditFault {
    /// Nothing to hand on.
    #[error(
        "the book in force has no rules for {old}, so {new} can be given none: write [key.{new}] \
         and propose that (portctl policy propose), or drain {old} without rotating it (portctl \
         drain plan)"
    )]
    NoRules { old: String, new: String },
    /// No TOML, or written in a way that we do not rewrite.
    #[error("the book in force cannot be rewritten here: {why}. {BY_HAND}")]
    Form { why: String },
    /// More would change than must.
    #[error("rewriting the book would change more than it must: {what}. {BY_HAND}")]
    More { what: String },
    /// The result is no book.
    #[error("the book would be faulty: {first}. {BY_HAND}")]
    Faulty { first: String },
}

/// Two keys, by label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
}

/// The book in which the new key has the rules of the old one, and stands beside it in each limit.
/// Rules that it has already are left to it. `None`: it is so.
pub(crate) fn with_successor(text: &str, pair: Pair<'_>) -> Result<Option<String>, BookEditFault> {
    let mut document = parse(text)?;
    let copied = copy_rules(&mut document, pair)?;
    let joined = each_limit(&mut document, |keys| join(keys, pair))?;
    if !copied && joined == 0 {
        return Ok(None);
    }
    let revised = document.to_string();
    let mut expected = values(text)?;
    expect_successor(&mut expected, pair, copied);
    check(&revised, &expected)?;
    at_most(joined, lines_lost(text, &revised))?;
    Ok(Some(revised))
}

/// The book in which the old key is no more. `None`: it is in none of it.
pub(crate) fn without(text: &str, old: &str) -> Result<Option<String>, BookEditFault> {
    let mut document = parse(text)?;
    let removed = table(&mut document, "key").and_then(|keys| keys.remove(old)).is_some();
    let left = each_limit(&mut document, |keys| leave(keys, old))?;
    if !removed && left == 0 {
        return Ok(None);
    }
    let revised = document.to_string();
    let mut expected = values(text)?;
    expect_gone(&mut expected, old);
    check(&revised, &expected)?;
    at_most(left, lines_lost(&revised, text))?;
    Ok(Some(revised))
}

fn parse(text: &str) -> Result<DocumentMut, BookEditFault> {
    text.parse().map_err(|error| BookEditFault::Form { why: format!("{error}") })
}

fn table<'d>(document: &'d mut DocumentMut, name: &str) -> Option<&'d mut dyn TableLike> {
    document.get_mut(name)?.as_table_like_mut()
}

/// Whether there was something to copy: no rules of its own that would be lost.
fn copy_rules(document: &mut DocumentMut, pair: Pair<'_>) -> Result<bool, BookEditFault> {
    let Pair { old, new } = pair;
    let missing = || BookEditFault::NoRules { old: old.to_owned(), new: new.to_owned() };
    let keys = table(document, "key").ok_or_else(missing)?;
    // They are left to it, also when the old key has left the book before it was ended.
    if keys.get(new).is_some() {
        return Ok(false);
    }
    let rules = keys.get(old).ok_or_else(missing)?;
    let mut rules = rules.clone();
    let mut last = None;
    positions(&mut rules, &mut |position| last = last.max(*position));
    // Behind the last table of the old key, whatever comes after that.
    positions(&mut rules, &mut |position| *position = last);
    if let Some(header) = rules.as_table_mut().filter(|table| !table.is_dotted()) {
        header.decor_mut().set_prefix(format!("\n# In place of {old}, with its rules.\n"));
    }
    keys.insert(new, rules);
    Ok(true)
}

/// Where each table of an item stands in the text.
fn positions(item: &mut Item, visit: &mut dyn FnMut(&mut Option<isize>)) {
    match item {
        Item::Table(table) => {
            let mut position = table.position();
            visit(&mut position);
            table.set_position(position);
            table.iter_mut().for_each(|(_, inner)| positions(inner, visit));
        }
        Item::ArrayOfTables(tables) => {
            for table in tables.iter_mut() {
                let mut position = table.position();
                visit(&mut position);
                table.set_position(position);
                table.iter_mut().for_each(|(_, inner)| positions(inner, visit));
            }
        }
        Item::None | Item::Value(_) => {}
    }
}

/// Goes over the `keys` of each limit; how many of them were changed.
fn each_limit(
    document: &mut DocumentMut,
    change: impl Fn(&mut Array) -> bool,
) -> Result<usize, BookEditFault> {
    let Some(limits) = table(document, "limit") else { return Ok(0) };
    let mut changed = 0_usize;
    for (name, limit) in limits.iter_mut() {
        let keys = limit.as_table_like_mut().and_then(|limit| limit.get_mut("keys"));
        let keys = keys.and_then(Item::as_array_mut);
        let why = || format!("limit.{name} names no keys", name = name.get());
        let keys = keys.ok_or_else(|| BookEditFault::Form { why: why() })?;
        changed = changed.saturating_add(usize::from(change(keys)));
    }
    Ok(changed)
}

fn place(keys: &Array, label: &str) -> Option<usize> {
    keys.iter().position(|key| key.as_str() == Some(label))
}

/// The new one behind the old one, on its line.
fn join(keys: &mut Array, Pair { old, new }: Pair<'_>) -> bool {
    let (Some(at), None) = (place(keys, old), place(keys, new)) else { return false };
    let mut value = toml_edit::Value::from(new);
    value.decor_mut().set_prefix(" ");
    if let Some(before) = keys.get_mut(at) {
        // What stands behind the last one, and no comma: a line break, or a comment.
        if let Some(behind) = before.decor().suffix().cloned() {
            value.decor_mut().set_suffix(behind);
        }
        before.decor_mut().set_suffix("");
    }
    keys.insert_formatted(at.saturating_add(1), value);
    true
}

/// Whoever comes after takes its place on the line.
fn leave(keys: &mut Array, old: &str) -> bool {
    let Some(at) = place(keys, old) else { return false };
    let gone = keys.remove(at);
    let broken = |value: &toml_edit::Value| {
        let prefix = value.decor().prefix().and_then(|raw| raw.as_str());
        prefix.is_some_and(|prefix| prefix.contains('\n'))
    };
    if let Some(next) = keys.get_mut(at).filter(|next| !broken(next)) {
        let prefix = gone.decor().prefix().cloned().unwrap_or_default();
        next.decor_mut().set_prefix(prefix);
    } else if let (None, Some(behind)) = (keys.get(at), gone.decor().suffix().cloned())
        && let Some(last) = at.checked_sub(1).and_then(|last| keys.get_mut(last))
    {
        last.decor_mut().set_suffix(behind);
    }
    true
}

/// What a book says, read by other code than that which rewrites it.
fn values(text: &str) -> Result<toml::Table, BookEditFault> {
    text.parse().map_err(|error| BookEditFault::Form { why: format!("{error}") })
}

fn expect_successor(book: &mut toml::Table, Pair { old, new }: Pair<'_>, copied: bool) {
    let keys = book.get_mut("key").and_then(toml::Value::as_table_mut);
    if let Some(keys) = keys.filter(|_| copied)
        && let Some(rules) = keys.get(old).cloned()
    {
        keys.insert(new.to_owned(), rules);
    }
    each_expected_limit(book, |keys| {
        let at = keys.iter().position(|key| key.as_str() == Some(old));
        let is_there = keys.iter().any(|key| key.as_str() == Some(new));
        if let Some(at) = at.filter(|_| !is_there) {
            keys.insert(at.saturating_add(1), new.into());
        }
    });
}

fn expect_gone(book: &mut toml::Table, old: &str) {
    if let Some(keys) = book.get_mut("key").and_then(toml::Value::as_table_mut) {
        keys.remove(old);
    }
    each_expected_limit(book, |keys| keys.retain(|key| key.as_str() != Some(old)));
}

fn each_expected_limit(book: &mut toml::Table, change: impl Fn(&mut Vec<toml::Value>)) {
    let limits = book.get_mut("limit").and_then(toml::Value::as_table_mut);
    for (_, limit) in limits.into_iter().flatten() {
        if let Some(keys) = limit.get_mut("keys").and_then(toml::Value::as_array_mut) {
            change(keys);
        }
    }
}

/// It says what it must and nothing else, and it is a book.
fn check(revised: &str, expected: &toml::Table) -> Result<(), BookEditFault> {
    if values(revised)? != *expected {
        let what = "its values are others than were meant".to_owned();
        return Err(BookEditFault::More { what });
    }
    let parsed = Book::parse(revised).map(drop);
    parsed.map_err(|Faults(faults)| BookEditFault::Faulty {
        first: faults.first().map(ToString::to_string).unwrap_or_default(),
    })
}

/// A line is lost for each limit that names one key more or less, and none else.
fn at_most(changed: usize, lost: Vec<&str>) -> Result<(), BookEditFault> {
    match lost.get(changed) {
        None => Ok(()),
        Some(line) => {
            Err(BookEditFault::More { what: format!("the line {:?} among others", line.trim()) })
        }
    }
}

/// Lines of one text that the other has fewer of.
fn lines_lost<'t>(from: &'t str, to: &str) -> Vec<&'t str> {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for line in to.lines() {
        let count = left.entry(line.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    let mut is_lost = |line: &str| match left.get_mut(line) {
        Some(count) if *count > 0 => {
            *count = count.saturating_sub(1);
            false
        }
        Some(_) | None => true,
    };
    from.lines().filter(|line| is_lost(line)).collect()
}

const BY_HAND: &str = "Write it by hand: portctl policy show >book.toml, copy the old key's tables \
                       for the new one, name that in each [limit] that names the old one, then \
                       portctl policy propose book.toml";

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair<'_> = Pair { old: "hot", new: "cold" };

    const HEAD: &str = r#"# The book of ACME.
version = 1   # the language

[chain.main]
id = 1
native = "ETH"
[asset.USDC]
kind = "erc20"
chain = "main"
address = "0x00000000000000000000000000000000000c0de0"
decimals = 6
[address]
safe = "0x5afe00000000000000000000000000000000005a"
[caller."spiffe://acme/payouts"]
owners = ["olga"]
"#;

    /// Above it a comment, one within it, one behind a value.
    const HOT: &str = r#"
# Pays suppliers.
[key.hot]
callers = ["spiffe://acme/payouts"] # one service
chains = ["main"]
# Small sums.
native = { to = ["@safe"], per_tx = "1 ETH", window = "1 ETH / 1h" }
fees = { per_tx = "1 ETH", window = "1 ETH / 1h", max_priority_fee = "5 wei", counts_as = "native" }
rate = { per_caller = "unlimited", per_key = "unlimited", parked = 1 }
[key.hot.token.USDC]
to = ["@safe"] # nobody else
per_tx = "1 USDC"
window = "1 USDC / 1h"
"#;

    /// A key whose label begins with that of the other.
    fn hotter() -> String {
        HOT.replace("key.hot", "key.hotter").replace("Pays suppliers", "Is hotter")
    }

    fn limit(keys: &str) -> String {
        format!(
            "\n# All together.\n[limit.all]\nkeys = {keys}\nasset = \"ETH\"\n\
             window = \"2 ETH / 1h\"\n"
        )
    }

    fn given(text: &str) -> String {
        with_successor(text, PAIR).expect("it can be rewritten").expect("it changes")
    }

    #[test]
    fn the_new_key_stands_behind_the_old_one_with_its_comments_and_all_else_is_as_it_was() {
        let text = format!("{HEAD}{HOT}{}{}# The end.\n", hotter(), limit("[\"hotter\", \"hot\"]"));
        let copy = HOT.replace("key.hot", "key.cold");
        let copy = copy.replace("# Pays suppliers.", "# In place of hot, with its rules.");
        let keys = limit("[\"hotter\", \"hot\", \"cold\"]");
        let wanted = format!("{HEAD}{HOT}{copy}{}{keys}# The end.\n", hotter());
        assert_eq!(given(&text), wanted);
        let (before, after) = (Book::parse(&text).unwrap(), Book::parse(&wanted).unwrap());
        let rules = |label: &str| after.rules(&label.parse().unwrap()).cloned();
        assert_eq!(rules("cold"), rules("hot"));
        assert_eq!(rules("hotter").as_ref(), before.rules(&"hotter".parse().unwrap()));
    }

    #[test]
    fn what_was_rewritten_once_is_not_rewritten_again_and_rules_that_are_there_are_kept() {
        let text = format!("{HEAD}{HOT}{}", limit("[\"hot\"]"));
        assert_eq!(with_successor(&given(&text), PAIR).expect("sound"), None);
        let own = HOT.replace("key.hot", "key.cold").replace("1 USDC / 1h", "9 USDC / 1h");
        let text = format!("{HEAD}{HOT}{own}{}", limit("[\"hot\"]"));
        let revised = given(&text);
        assert!(revised.contains("9 USDC / 1h") && revised.contains("[\"hot\", \"cold\"]"));
        // Without any limit there is nothing to do.
        assert_eq!(with_successor(&format!("{HEAD}{HOT}{own}"), PAIR).expect("sound"), None);
    }

    #[test]
    fn only_a_limit_that_names_the_old_key_names_the_new_one() {
        let text = format!("{HEAD}{HOT}{}{}", hotter(), limit("[\"hotter\"]"));
        assert!(given(&text).ends_with(&limit("[\"hotter\"]")));
        assert!(given(&format!("{HEAD}{HOT}")).contains("[key.cold.token.USDC]"));
    }

    #[test]
    fn a_list_over_several_lines_changes_on_one_of_them() {
        for (before, after) in [
            (
                "[\n  \"hot\", # pays\n  \"hotter\",\n]",
                "[\n  \"hot\", \"cold\", # pays\n  \"hotter\",\n]",
            ),
            ("[\n  \"hotter\",\n  \"hot\"\n]", "[\n  \"hotter\",\n  \"hot\", \"cold\"\n]"),
        ] {
            let text = format!("{HEAD}{HOT}{}{}", hotter(), limit(before));
            let revised = given(&text);
            assert!(revised.ends_with(&limit(after)), "{revised}");
            let gone = without(&revised, "hot").expect("sound").expect("it changes");
            let rest = gone.split_once("keys = ").map(|(_, rest)| rest).unwrap_or_default();
            assert!(rest.starts_with("[\n  \"") && !rest.contains("\"hot\""), "{gone}");
            assert!(rest.contains("\"cold\"") && rest.contains("\n]"), "{gone}");
        }
    }

    #[test]
    fn without_the_old_key_the_book_is_as_if_the_new_one_had_been_there_instead() {
        let text = format!("{HEAD}{HOT}{}{}", hotter(), limit("[\"hot\", \"hotter\"]"));
        let gone = without(&given(&text), "hot").expect("sound").expect("it changes");
        let copy = HOT.replace("key.hot", "key.cold");
        let copy = copy.replace("# Pays suppliers.", "# In place of hot, with its rules.");
        let keys = limit("[\"cold\", \"hotter\"]");
        assert_eq!(gone, format!("{HEAD}{copy}{}{keys}", hotter()));
        assert_eq!(without(&gone, "hot").expect("sound"), None);
    }

    #[test]
    fn what_the_old_key_spent_counts_no_more_in_a_limit_so_that_leaving_one_widens() {
        let narrows = |limits: &str| {
            let text = given(&format!("{HEAD}{HOT}{limits}"));
            let gone = without(&text, "hot").expect("sound").expect("it changes");
            let (before, after) = (Book::parse(&text).unwrap(), Book::parse(&gone).unwrap());
            before.difference(&after).is_narrowing()
        };
        assert!(narrows(""));
        assert!(!narrows(&limit("[\"hot\"]")));
    }

    #[test]
    fn a_key_written_on_one_line_is_handed_on_too_and_one_in_two_spellings_is_left_to_people() {
        let values = HOT.split_once("[key.hot]\n").and_then(|(_, rest)| rest.split_once("[key"));
        let values = values.map(|(values, _)| values.lines()).into_iter().flatten();
        let plain = values.filter(|line| !line.starts_with('#'));
        let plain: Vec<&str> = plain.map(|line| line.trim_end_matches(" # one service")).collect();
        let text = format!("{HEAD}[key]\nhot = {{ {} }}\n", plain.join(", "));
        let revised = given(&text);
        assert!(revised.starts_with(&text), "{revised}");
        let book = Book::parse(&revised).unwrap();
        let rules = |label: &str| book.rules(&label.parse().unwrap()).cloned();
        assert!(rules("cold").is_some() && rules("cold") == rules("hot"), "{revised}");
        let mixed = HOT.replace("[key.hot.token.USDC]", "[key.\"hot\".token.USDC]");
        let words = with_successor(&format!("{HEAD}{mixed}"), PAIR).unwrap_err().to_string();
        assert!(words.contains("more than it must") && words.contains("by hand"), "{words}");
    }

    #[test]
    fn a_book_without_rules_for_the_old_key_is_refused_with_what_to_do() {
        let words = with_successor(HEAD, PAIR).unwrap_err().to_string();
        assert!(words.contains("no rules for hot") && words.contains("[key.cold]"), "{words}");
        let words = with_successor(&format!("{HEAD}{}", hotter()), PAIR).unwrap_err().to_string();
        assert!(words.contains("no rules for hot"), "{words}");
    }

    #[test]
    fn a_line_that_was_not_meant_is_noticed() {
        assert!(at_most(1, vec!["keys = []"]).is_ok());
        let words = at_most(0, vec![" id = 1"]).unwrap_err().to_string();
        assert!(words.contains("id = 1") && words.contains("by hand"), "{words}");
        assert_eq!(lines_lost("a\nb\nb\n", "b\na\n"), ["b"]);
    }
}
