//! Chooses the next address of a range set: round robin after the one given out last.
//! Called by ADD; decides only, on what the caller tells it is taken.
//! Must never touch the disk, a clock, or an address that is a gateway.

use crate::address::{Addr, Span};
use crate::range::{Range, RangeSet};

/// What is taken, asked for one free address at a time.
pub trait Taken {
    /// Why it could not be told.
    type Error;

    /// The lowest address of the span that nobody has.
    ///
    /// # Errors
    /// Those of whoever keeps the leases.
    fn next_free(&mut self, span: Span) -> Result<Option<Addr>, Self::Error>;
}

/// The outcome of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// This address is free.
    Free(Addr),
    /// Nothing is free but addresses released too recently.
    OnlyCooling,
    /// Nothing is free.
    Exhausted,
}

/// The first free address after `last` in the order of the ranges, ending with `last` itself; from the
/// start of the first range when `last` is absent or outside the set, as with the reference.
///
/// # Errors
/// Those of `taken`.
pub fn pick<T: Taken>(
    set: &RangeSet,
    last: Option<Addr>,
    taken: &mut T,
    is_cooling: &dyn Fn(Addr) -> bool,
) -> Result<Pick, T::Error> {
    let mut cooling = false;
    for (range, span) in walk(set, last) {
        let mut rest = Some(span);
        while let Some(span) = rest {
            let Some(found) = taken.next_free(span)? else {
                break;
            };
            if found != range.gateway() {
                if !is_cooling(found) {
                    return Ok(Pick::Free(found));
                }
                cooling = true;
            }
            rest = found.next().and_then(|next| Span::new(next, span.last));
        }
    }
    Ok(if cooling {
        Pick::OnlyCooling
    } else {
        Pick::Exhausted
    })
}

/// The spans of the set in the order of one round, beginning after `last`.
fn walk(set: &RangeSet, last: Option<Addr>) -> impl Iterator<Item = (&Range, Span)> {
    let ranges = set.ranges();
    let from = last.and_then(|l| Some((l, ranges.iter().position(|r| r.span().contains(l))?)));
    let start = from.map_or(0, |(_, index)| index);
    let behind = from
        .and_then(|(last, i)| Some((&ranges[i], Span::new(last.next()?, ranges[i].span().last)?)));
    let others = (1..ranges.len()).map(move |step| &ranges[(start + step) % ranges.len()]);
    let others = others.map(|range| (range, range.span()));
    let before = from.map_or_else(
        || ranges.first().map(|r| (r, r.span())),
        |(last, i)| {
            Some((
                &ranges[i],
                Span {
                    first: ranges[i].span().first,
                    last,
                },
            ))
        },
    );
    // Without a last address the first range comes first, and there is nothing left at the end.
    let (head, tail) = if from.is_some() {
        (behind, before)
    } else {
        (before, None)
    };
    head.into_iter().chain(others).chain(tail)
}

#[cfg(test)]
mod tests;
