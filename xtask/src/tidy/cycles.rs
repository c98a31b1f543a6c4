//! Module cycles: a crate is read from its lowest module upwards, so modules may depend on each other only in small
//! groups.

use super::Violation;
use super::modules::ModuleGraph;

/// The most modules that may depend on each other.
pub const MOST_IN_A_CYCLE: usize = 4;

/// Crates that are being cut, and the size of their largest group today. The aim is that none is left.
const EXCEPTIONS: &[(&str, usize)] = &[];

impl ModuleGraph {
    /// The groups of modules that depend on each other, largest first.
    pub fn cycles(&self) -> Vec<Vec<&str>> {
        let (components, _) = self.components();
        let mut cycles: Vec<Vec<&str>> = components
            .into_iter()
            .filter(|component| component.len() > 1)
            .map(|component| {
                let names = component.into_iter();
                names.map(|index| self.modules[index].as_str()).collect()
            })
            .collect();
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.len()));
        cycles
    }

    /// The number of floors: the longest chain of groups, each of which uses the next.
    pub fn floors(&self) -> usize {
        let (components, reached) = self.components();
        let mut heights = vec![0; components.len()];
        // A group reaches fewer modules than any group that uses it.
        let mut order: Vec<usize> = (0..components.len()).collect();
        order.sort_by_key(|&index| {
            reached[components[index][0]]
                .iter()
                .filter(|is| **is)
                .count()
        });
        for &index in &order {
            let below = order.iter().filter(|&&other| {
                other != index && reached[components[index][0]][components[other][0]]
            });
            heights[index] = 1 + below.map(|&other| heights[other]).max().unwrap_or(0);
        }
        heights.into_iter().max().unwrap_or(0)
    }

    /// The groups, and for each module which modules it reaches.
    fn components(&self) -> (Vec<Vec<usize>>, Vec<Vec<bool>>) {
        let count = self.modules.len();
        let mut reached = vec![vec![false; count]; count];
        for (index, row) in reached.iter_mut().enumerate() {
            let mut open = vec![index];
            while let Some(next) = open.pop() {
                if !std::mem::replace(&mut row[next], true) {
                    open.extend(&self.uses[next]);
                }
            }
        }
        let mut components: Vec<Vec<usize>> = Vec::new();
        for (index, row) in reached.iter().enumerate() {
            let own = components
                .iter_mut()
                .find(|component| row[component[0]] && reached[component[0]][index]);
            match own {
                Some(component) => component.push(index),
                None => components.push(vec![index]),
            }
        }
        (components, reached)
    }
}

/// At most `MOST_IN_A_CYCLE` (4) modules of a crate depend on each other. `files` are its sources.
pub fn module_cycles(name: &str, files: &[(String, String)]) -> Vec<Violation> {
    judged(name, files, EXCEPTIONS)
}

fn judged(name: &str, files: &[(String, String)], exceptions: &[(&str, usize)]) -> Vec<Violation> {
    let root = format!("crates/{name}");
    let graph = match ModuleGraph::of_crate(files) {
        Ok(graph) => graph,
        Err(error) => return vec![Violation::new(&root, 1, error.to_string())],
    };
    let excepted = exceptions.iter().find(|(excepted, _)| *excepted == name);
    let most = excepted.map_or(MOST_IN_A_CYCLE, |(_, size)| *size);
    let cycles = graph.cycles();
    let largest = cycles.first().map_or(1, Vec::len);
    if excepted.is_some() && largest <= MOST_IN_A_CYCLE {
        let message =
            format!("{name} needs no exception any more: remove it from xtask/src/tidy/cycles.rs");
        return vec![Violation::new(&root, 1, message)];
    }
    let too_large = cycles.iter().filter(|cycle| cycle.len() > most);
    too_large
        .map(|cycle| {
            let message = format!(
                "{} modules depend on each other, at most {most}: {}; `cargo run -p xtask -- cycles` lists the uses",
                cycle.len(),
                cycle.join(", ")
            );
            Violation::new(&root, 1, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Modules = &'static [(&'static str, &'static [&'static str])];

    /// A crate in which each module uses the modules after the colon.
    fn tree(modules: Modules) -> Vec<(String, String)> {
        let file = |(name, uses): &(&str, &[&str])| {
            let text = uses
                .iter()
                .map(|used| format!("use crate::{used}::{used}_x;"));
            (format!("crates/a/src/{name}.rs"), text.collect())
        };
        modules.iter().map(file).collect()
    }

    #[test]
    fn groups_and_floors_of_a_crate_are_found() {
        let table: &[(Modules, &[&[&str]], usize)] = &[
            (&[("a", &[]), ("b", &[])], &[], 1),
            (&[("a", &["b"]), ("b", &["c"]), ("c", &[])], &[], 3),
            (
                &[("a", &["b"]), ("b", &["a"]), ("c", &["a"])],
                &[&["a", "b"]],
                2,
            ),
            (
                &[
                    ("a", &["b"]),
                    ("b", &["c"]),
                    ("c", &["a"]),
                    ("d", &["e", "a"]),
                    ("e", &["d"]),
                    ("f", &["f"]),
                ],
                &[&["a", "b", "c"], &["d", "e"]],
                2,
            ),
        ];
        for (modules, cycles, floors) in table {
            let graph = ModuleGraph::of_crate(&tree(modules)).unwrap();
            assert_eq!(graph.cycles(), *cycles, "{modules:?}");
            assert_eq!(graph.floors(), *floors, "{modules:?}");
        }
    }

    #[test]
    fn a_large_group_is_refused_unless_it_is_excepted() {
        let ring = |size: usize| -> Vec<(String, String)> {
            (0..size)
                .map(|index| {
                    let next = (index + 1) % size;
                    (
                        format!("src/m{index}.rs"),
                        format!("use crate::m{next}::X;"),
                    )
                })
                .collect()
        };
        let found = |size, exceptions| judged("a", &ring(size), exceptions).len();
        assert_eq!(found(MOST_IN_A_CYCLE, &[]), 0);
        assert_eq!(found(MOST_IN_A_CYCLE + 1, &[]), 1);
        assert_eq!(found(MOST_IN_A_CYCLE + 1, &[("a", MOST_IN_A_CYCLE + 1)]), 0);
        assert_eq!(found(MOST_IN_A_CYCLE + 2, &[("a", MOST_IN_A_CYCLE + 1)]), 1);
        assert_eq!(found(MOST_IN_A_CYCLE + 1, &[("b", 9)]), 1);
        // An exception that is not needed is refused too.
        assert_eq!(found(MOST_IN_A_CYCLE, &[("a", MOST_IN_A_CYCLE + 1)]), 1);
    }
}
