//! Bounds on arguments of calls and fields of typed data.
//!
//! A bound on an array holds for every element, and an upper bound on amounts for their sum as
//! well: a hundred payments of the limit are not one payment of the limit. An empty array breaks no
//! bound. What has no bound written for it does not exist: a rule names every argument.

use alloy_primitives::{Address, U256};

use crate::book::Addresses;
use crate::money::{Amount, Total};
use crate::time::{Millis, Span};
use crate::value::{Kind, Member, Value};

/// What an argument may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Bound {
    /// Somebody wrote "any".
    Any,
    /// A number of at most so much; of several, their sum too.
    AtMost(U256),
    /// A number of at least so much.
    AtLeast(U256),
    /// A number from one to the other; of several, their sum at most the other too.
    Between(U256, U256),
    /// Seconds since 1970: not later than so long from now.
    Within(Span),
    /// An address: the key's own, if `own`, or one of these.
    Addresses {
        /// Whether the key's own may stand there.
        own: bool,
        /// Which others may; the zero address only if somebody wrote "zero".
        these: Addresses,
    },
    /// One of these values.
    OneOf(Vec<Value>),
    /// A tuple: a bound for each member.
    Members(Vec<Self>),
    /// An array of at most so many elements, each within the bound.
    Each(Box<Self>, usize),
}

/// What bounds are held against besides the value.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The key's address.
    pub own: Address,
    /// The time that is sure.
    pub now: Millis,
}

/// The first argument that is out of its bound, by name, and its value. `None`: all hold.
pub fn broken<'v>(
    bounds: &[Bound],
    members: &'v [Member],
    values: &'v [Value],
    moment: Moment,
) -> Option<(&'v str, &'v Value)> {
    let triples = bounds.iter().zip(members).zip(values);
    let mut broken =
        triples.filter(|((bound, member), value)| !hold_all(bound, &member.kind, &[value], moment));
    broken.next().map(|((_, member), value)| (member.name.as_deref().unwrap_or_default(), value))
}

/// Whether a bound holds for values of one type, all of which stand in its place.
fn hold_all(bound: &Bound, kind: &Kind, values: &[&Value], moment: Moment) -> bool {
    if let Kind::Array(element, _) = kind {
        let lists: Vec<&[Value]> = values.iter().filter_map(|value| value.as_list()).collect();
        let inner: Vec<&Value> = lists.iter().copied().flatten().collect();
        if let Bound::Each(bound, most) = bound {
            let short = lists.iter().all(|list| list.len() <= *most);
            return short && hold_all(bound, element, &inner, moment);
        }
        return hold_all(bound, element, &inner, moment);
    }
    match bound {
        Bound::Any => true,
        Bound::AtMost(most) => numbers(values).is_some_and(|all| sum_within(&all, *most)),
        Bound::AtLeast(least) => {
            numbers(values).is_some_and(|all| all.iter().all(|number| number >= least))
        }
        Bound::Between(least, most) => numbers(values)
            .is_some_and(|all| all.iter().all(|number| number >= least) && sum_within(&all, *most)),
        Bound::Within(span) => {
            let latest = U256::from(moment.now.plus(*span).0 / 1_000);
            numbers(values).is_some_and(|all| all.iter().all(|number| *number <= latest))
        }
        Bound::Addresses { own, these } => values.iter().all(|value| {
            value
                .as_address()
                .is_some_and(|address| (*own && address == moment.own) || these.contains(&address))
        }),
        Bound::OneOf(known) => values.iter().all(|value| known.contains(value)),
        Bound::Members(bounds) => {
            let Kind::Tuple(_, members) = kind else { return false };
            let mut places = bounds.iter().zip(members).enumerate();
            places.all(|(at, (bound, member))| {
                let parts = values.iter().filter_map(|value| value.as_list()?.get(at));
                let parts: Vec<&Value> = parts.collect();
                parts.len() == values.len() && hold_all(bound, &member.kind, &parts, moment)
            })
        }
        // On something that is no array it says nothing that could hold.
        Bound::Each(..) => false,
    }
}

fn numbers(values: &[&Value]) -> Option<Vec<U256>> {
    values.iter().map(|value| value.as_uint()).collect()
}

fn sum_within(numbers: &[U256], most: U256) -> bool {
    let sum = numbers.iter().fold(Total::ZERO, |sum, one| sum.plus(Amount::from_units(*one)));
    !sum.exceeds(Amount::from_units(most))
}

impl Bound {
    /// Whether everything that this admits is admitted by `other` too. `false` if that is not
    /// plain to see.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::AtMost(new), Self::AtMost(old)) => new <= old,
            (Self::AtLeast(new), Self::AtLeast(old)) => new >= old,
            (Self::Between(_, new), Self::AtMost(old)) => new <= old,
            (Self::Between(new, _), Self::AtLeast(old)) => new >= old,
            (Self::Between(new_least, new), Self::Between(old_least, old)) => {
                new_least >= old_least && new <= old
            }
            (Self::Within(new), Self::Within(old)) => new <= old,
            (
                Self::Addresses { own: new_own, these: new },
                Self::Addresses { own: old_own, these: old },
            ) => (*old_own || !*new_own) && new.is_subset(old),
            (Self::OneOf(new), Self::OneOf(old)) => new.iter().all(|value| old.contains(value)),
            (Self::Members(new), Self::Members(old)) => {
                new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.is_within(old))
            }
            (Self::Each(new, new_most), Self::Each(old, old_most)) => {
                new_most <= old_most && new.is_within(old)
            }
            (Self::Each(new, _), old) => new.is_within(old),
            (_, _) => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi;

    const MOMENT: Moment = Moment { own: Address::repeat_byte(9), now: Millis(1_000_000) };

    fn uint(number: u64) -> Value {
        Value::Uint(U256::from(number))
    }

    fn at_most(number: u64) -> Bound {
        Bound::AtMost(U256::from(number))
    }

    fn first_broken(signature: &str, bounds: &[Bound], values: &[Value]) -> Option<String> {
        let function = abi::function(signature).unwrap();
        broken(bounds, function.parameters(), values, MOMENT).map(|(name, _)| name.to_owned())
    }

    #[test]
    fn a_bound_on_an_array_holds_for_each_element_and_for_their_sum() {
        let holds = |numbers: &[u64]| {
            let list = Value::List(numbers.iter().map(|number| uint(*number)).collect());
            first_broken("pay(uint256[] amounts)", &[at_most(10)], &[list]).is_none()
        };
        assert!(holds(&[]) && holds(&[10]) && holds(&[5, 5]));
        assert!(!holds(&[11]) && !holds(&[6, 5]) && !holds(&[0, 11, 0]));
    }

    #[test]
    fn a_bound_inside_an_array_of_tuples_holds_for_each_and_for_their_sum() {
        let signature = "pay((address to,uint256 amount)[] orders)";
        let known = Bound::Addresses {
            own: false,
            these: std::sync::Arc::new([Address::repeat_byte(1)].into_iter().collect()),
        };
        let bounds = [Bound::Members(vec![known, at_most(10)])];
        let order = |to: u8, amount| {
            Value::List(vec![Value::Address(Address::repeat_byte(to)), uint(amount)])
        };
        let broken = |orders: Vec<Value>| first_broken(signature, &bounds, &[Value::List(orders)]);
        assert_eq!(broken(vec![order(1, 5), order(1, 5)]), None);
        assert_eq!(broken(vec![order(1, 5), order(1, 6)]), Some("orders".into()));
        assert_eq!(broken(vec![order(1, 1), order(2, 1)]), Some("orders".into()));
    }

    #[test]
    fn sums_beyond_every_number_are_over_every_bound() {
        let list = Value::List(vec![Value::Uint(U256::MAX), Value::Uint(U256::MAX)]);
        let most = [Bound::AtMost(U256::MAX)];
        assert!(first_broken("f(uint256[] a)", &most, &[list]).is_some());
        let wide = [Bound::AtMost(U256::MAX)];
        assert!(first_broken("f(uint256 a)", &wide, &[Value::Uint(U256::MAX)]).is_none());
    }

    #[test]
    fn a_deadline_is_counted_from_the_time_that_is_sure() {
        let bound = [Bound::Within(Span(60_000))];
        assert_eq!(first_broken("f(uint48 until)", &bound, &[uint(1_060)]), None);
        assert!(first_broken("f(uint48 until)", &bound, &[uint(1_061)]).is_some());
    }

    #[test]
    fn own_is_the_key_and_nobody_else() {
        let own = [Bound::Addresses { own: true, these: Addresses::default() }];
        let broken = |byte| {
            let value = Value::Address(Address::repeat_byte(byte));
            first_broken("f(address to)", &own, &[value]).is_some()
        };
        assert!(!broken(9) && broken(8) && broken(0));
    }

    #[test]
    fn a_narrower_bound_is_within_a_wider_and_never_the_other_way_round() {
        let two = |numbers: &[u64]| Bound::OneOf(numbers.iter().map(|one| uint(*one)).collect());
        let between = |a: u64, b: u64| Bound::Between(U256::from(a), U256::from(b));
        for (narrow, wide) in [
            (at_most(1), at_most(2)),
            (at_most(2), Bound::Any),
            (between(2, 3), at_most(3)),
            (between(2, 3), between(1, 3)),
            (Bound::AtLeast(U256::from(5)), Bound::AtLeast(U256::from(4))),
            (two(&[1]), two(&[1, 2])),
            (Bound::Each(Box::new(at_most(1)), 3), Bound::Each(Box::new(at_most(1)), 4)),
            (Bound::Each(Box::new(at_most(1)), 3), at_most(1)),
            (Bound::Within(Span(1)), Bound::Within(Span(2))),
            (Bound::Members(vec![at_most(1)]), Bound::Members(vec![Bound::Any])),
        ] {
            assert!(narrow.is_within(&wide) && !wide.is_within(&narrow), "{narrow:?} {wide:?}");
            assert!(narrow.is_within(&narrow) && wide.is_within(&wide));
        }
    }
}
