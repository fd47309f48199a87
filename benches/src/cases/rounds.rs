//! Rounds: every side attaches one container and detaches it again, each side in turn.
//! The cases that time ADD and DEL one at a time are made of them.
//! The first side must never be the same in two rounds running: who follows whom changes what the kernel has left to do.

use crate::error::Result;
use crate::lab::Container;
use crate::process::Cost;
use crate::report::walls;
use crate::side::Side;

/// Rounds that are not counted: caches are cold, bridges are made.
const WARM_UP: usize = 3;

/// What one side cost in all rounds: by round, and in each by process.
#[derive(Debug, Default)]
pub(crate) struct Series {
    add: Vec<Vec<Cost>>,
    del: Vec<Vec<Cost>>,
}

impl Series {
    /// By round.
    pub(crate) fn add(&self) -> Vec<Cost> {
        totals(&self.add)
    }

    /// By round.
    pub(crate) fn del(&self) -> Vec<Cost> {
        totals(&self.del)
    }

    /// By round, of one process of a chain only.
    pub(crate) fn del_of(&self, process: usize) -> Vec<Cost> {
        part(&self.del, process)
    }

    /// By round, of one process of a chain only.
    pub(crate) fn add_of(&self, process: usize) -> Vec<Cost> {
        part(&self.add, process)
    }

    /// Wall times of ADD in milliseconds.
    pub(crate) fn add_walls(&self) -> Vec<f64> {
        walls(&self.add())
    }
}

fn totals(rounds: &[Vec<Cost>]) -> Vec<Cost> {
    let sum = |costs: &Vec<Cost>| costs.iter().copied().sum();
    rounds.iter().map(sum).collect()
}

fn part(rounds: &[Vec<Cost>], process: usize) -> Vec<Cost> {
    let one = |costs: &Vec<Cost>| costs.get(process).copied().unwrap_or_default();
    rounds.iter().map(one).collect()
}

/// A side with a container that comes and goes.
pub(crate) struct Turn<'a> {
    pub(crate) side: &'a mut Side,
    pub(crate) container: &'a Container,
}

/// Runs the rounds and returns each side's costs, in the order of the sides.
pub(crate) fn run(rounds: usize, turns: &mut [Turn<'_>]) -> Result<Vec<Series>> {
    let mut series: Vec<Series> = turns.iter().map(|_| Series::default()).collect();
    for round in 0..rounds + WARM_UP {
        for step in 0..turns.len() {
            let now = (round + step) % turns.len();
            let costs = turns[now].side.add(turns[now].container)?;
            series[now].add.push(costs);
        }
        for step in 0..turns.len() {
            let now = (round + step) % turns.len();
            let costs = turns[now].side.del(turns[now].container)?;
            series[now].del.push(costs);
        }
    }
    for one in &mut series {
        one.add.drain(..WARM_UP);
        one.del.drain(..WARM_UP);
    }
    Ok(series)
}
