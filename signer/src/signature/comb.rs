//! A sum of two multiples of points known beforehand, by a comb (Lim and Lee, 1994).
//!
//! A scalar is laid out as 8 rows of 32 bits. A table holds, for each of the 256 possible columns,
//! the sum of the row weights 2^(32·row)·P that are set in it. So a multiple takes 31 doublings
//! and 32 additions, and two multiples share the doublings: a quarter of the work of k256's own
//! linear combination, which cannot assume that it knows the points. Variable time, public input
//! only: never for a secret scalar.

#![expect(clippy::arithmetic_side_effects, reason = "sums of points: total, no overflow, no panic")]

use std::array;
use std::sync::LazyLock;

use k256::elliptic_curve::point::BatchNormalize;
use k256::{AffinePoint, ProjectivePoint, Scalar};

/// The sums of one point's row weights, by column. 256 × 88 bytes.
pub(super) struct Comb(Box<[AffinePoint]>);

const ROWS: usize = 8;
const ROW_BITS: usize = 32;

/// The table of the curve's base point.
pub(super) fn generator() -> &'static Comb {
    static GENERATOR: LazyLock<Comb> = LazyLock::new(|| Comb::of(&ProjectivePoint::GENERATOR));
    &GENERATOR
}

/// a·P + b·Q. k256's addition is complete, so no pair of inputs is special.
pub(super) fn sum((p, a): (&Comb, &Scalar), (q, b): (&Comb, &Scalar)) -> ProjectivePoint {
    let columns = columns(a).into_iter().zip(columns(b));
    columns.fold(ProjectivePoint::IDENTITY, |sum, (a, b)| {
        let sum = sum.double();
        let sum = p.add_to(sum, a);
        q.add_to(sum, b)
    })
}

impl Comb {
    /// Builds the table: 256 doublings, 255 additions, one inversion; a third of a millisecond.
    pub(super) fn of(point: &ProjectivePoint) -> Self {
        let mut sums = vec![ProjectivePoint::IDENTITY];
        let mut weight = *point;
        for _ in 0..ROWS {
            let with_weight: Vec<_> = sums.iter().map(|sum| weight + sum).collect();
            sums.extend(with_weight);
            weight = (0..ROW_BITS).fold(weight, |weight, _| weight.double());
        }
        Self(ProjectivePoint::batch_normalize(sums.as_slice()).into_boxed_slice())
    }

    fn add_to(&self, sum: ProjectivePoint, column: u8) -> ProjectivePoint {
        match self.0.get(usize::from(column)) {
            Some(point) if column != 0 => sum + *point,
            _ => sum,
        }
    }
}

/// The columns of a scalar, highest first; bit n of a column is row n.
fn columns(scalar: &Scalar) -> [u8; ROW_BITS] {
    let bytes = scalar.to_bytes();
    let mut rows = [0_u32; ROWS];
    for (row, word) in rows.iter_mut().rev().zip(bytes.chunks_exact(4)) {
        *row = word.iter().fold(0, |row, byte| (row << 8) | u32::from(*byte));
    }
    array::from_fn(|_| {
        let mut column = 0;
        for row in rows.iter_mut().rev() {
            column = (column << 1) | u8::from(row.leading_zeros() == 0);
            *row <<= 1;
        }
        column
    })
}

#[cfg(test)]
mod tests {
    use k256::elliptic_curve::ops::{LinearCombination, Reduce};
    use k256::elliptic_curve::{Field, PrimeField};
    use k256::{FieldBytes, U256};

    use super::*;

    fn scalar(seed: u64) -> Scalar {
        let hash = alloy_primitives::keccak256(seed.to_be_bytes());
        <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(hash.0))
    }

    #[test]
    fn a_comb_gives_the_same_sum_as_the_curve_library() {
        let q = ProjectivePoint::GENERATOR * scalar(0);
        let comb = Comb::of(&q);
        for seed in 1..1_000 {
            let (a, b) = (scalar(seed), scalar(seed + 1_000_000));
            let expected = ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &a, &q, &b);
            assert_eq!(sum((generator(), &a), (&comb, &b)), expected, "{seed}");
        }
    }

    #[test]
    fn a_comb_is_right_at_the_edges_of_the_scalar_field() {
        let q = ProjectivePoint::GENERATOR * scalar(0);
        let comb = Comb::of(&q);
        let powers =
            [1_u64, 31, 32, 33, 64, 128, 255].map(|n| Scalar::from(2_u64).pow_vartime([n]));
        let mut edges = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::TWO_INV];
        edges.extend(powers);
        for a in &edges {
            for b in &edges {
                let expected = ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, a, &q, b);
                assert_eq!(sum((generator(), a), (&comb, b)), expected, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_sum_that_cancels_or_doubles_is_no_special_case() {
        let g = Comb::of(&ProjectivePoint::GENERATOR);
        let a = scalar(7);
        assert_eq!(sum((generator(), &a), (&g, &-a)), ProjectivePoint::IDENTITY);
        assert_eq!(sum((generator(), &a), (&g, &a)), ProjectivePoint::GENERATOR * (a + a));
    }
}
