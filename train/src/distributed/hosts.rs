//! SLURM's short form of lists of machines: `node[03-07,9],login1`.

/// First machine of a list; `None` when the text is no such list.
///
/// Each bracket stands for its first number, which keeps its zeros: `rack[1-2]node[03,7]` begins with `rack1node03`.
pub(super) fn first(list: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = list.trim();
    while let Some((before, after)) = rest.split_once('[') {
        if before.contains(',') {
            break;
        }
        let (numbers, after) = after.split_once(']')?;
        name.push_str(before);
        name.push_str(numbers.split([',', '-']).next()?);
        rest = after;
    }
    name.push_str(rest.split(',').next()?);
    (!name.is_empty() && !name.contains(['[', ']', ' '])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_machines() {
        let lists = [
            ("node1", "node1"),
            ("node1,node2", "node1"),
            ("node[03-07,9]", "node03"),
            ("node[9,03-07],gpu1", "node9"),
            ("login,node[1-2]", "login"),
            ("rack[1-2]node[03,7]-ib", "rack1node03-ib"),
            ("a[1-2].cluster.local,b", "a1.cluster.local"),
            ("10.0.0.1,10.0.0.2", "10.0.0.1"),
        ];
        for (list, expected) in lists {
            assert_eq!(first(list).as_deref(), Some(expected), "{list}");
        }
        for list in ["", "node[1-2", "node]1", ","] {
            assert_eq!(first(list), None, "{list}");
        }
    }
}
