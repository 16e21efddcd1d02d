use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use super::*;
use crate::distributed::Launcher;

#[path = "../../../tests/common/ports.rs"]
mod ports;

use ports::free_port;

const TIMEOUT: Duration = Duration::from_secs(30);

fn launch(rank: usize, size: usize, port: u16) -> Launch {
    let world = World { rank, size, local_rank: rank };
    let address = "127.0.0.1".into();
    Launch { world, address, port, agent_store: false, restart: 0, by: Launcher::Torchrun }
}

/// Runs `body` as each rank of a group, one thread each.
fn ranks<T: Send>(size: usize, body: impl Fn(Group) -> T + Sync) -> Vec<T> {
    let port = free_port();
    thread::scope(|scope| {
        let body = &body;
        let run = move |rank| body(Group::join(&launch(rank, size, port), TIMEOUT).unwrap());
        let threads: Vec<_> = (0..size).map(|rank| scope.spawn(move || run(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn collectives_of_three_ranks() {
    ranks(3, |group| {
        let rank = group.world().rank;
        for kind in [Kind::Float, Kind::Double, Kind::Int64, Kind::Half] {
            let tensor = Tensor::full([2, 3], rank as i64 + 1, (kind, Device::Cpu));
            group.all_reduce(&tensor).unwrap();
            assert_eq!(tensor, Tensor::full([2, 3], 6, (kind, Device::Cpu)));
        }
        let first = Tensor::full([4], rank as i64, (Kind::Float, Device::Cpu));
        let second = Tensor::full([2], rank as i64 + 10, (Kind::Int64, Device::Cpu));
        group.broadcast(&[&first, &second], 2).unwrap();
        assert_eq!((first.double_value(&[3]), second.int64_value(&[1])), (2.0, 12));
        let gathered = group.all_gather(&b"abc"[..rank]).unwrap();
        assert_eq!(gathered, [&b""[..], b"a", b"ab"]);
        assert_eq!(group.all_gather(b"").unwrap(), [b"", b"", b""]);
        assert!(group.any(rank == 1).unwrap());
        assert!(!group.any(false).unwrap());
        group.barrier().unwrap();
    });
}

#[test]
fn sums_run_side_by_side() {
    ranks(2, |group| {
        let tensors: Vec<Tensor> =
            (0..20).map(|i| Tensor::full([1000], i, (Kind::Float, Device::Cpu))).collect();
        let pending: Vec<_> = tensors.iter().map(|tensor| group.all_reduce_start(tensor).unwrap()).collect();
        pending.into_iter().for_each(|pending| pending.wait().unwrap());
        for (i, tensor) in tensors.iter().enumerate() {
            assert_eq!(tensor.double_value(&[999]), 2.0 * i as f64);
        }
    });
}

#[test]
fn a_group_of_one() {
    ranks(1, |group| {
        let tensor = Tensor::from_slice(&[1.5f64, -2.0]);
        group.all_reduce(&tensor).unwrap();
        assert_eq!(tensor, Tensor::from_slice(&[1.5f64, -2.0]));
        assert_eq!(group.all_gather(b"x").unwrap(), [b"x"]);
    });
}

#[test]
fn waits_for_a_slow_rank() {
    ranks(2, |group| {
        if group.world().rank == 0 {
            thread::sleep(Duration::from_secs(2));
        }
        group.barrier().unwrap();
    });
}

#[test]
fn a_failure_ends_the_collectives_of_all() {
    let begun = Instant::now();
    let failures = ranks(3, |group| {
        if group.world().rank == 1 {
            group.fail("no memory");
        }
        match group.barrier() {
            Err(DistributedError::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    });
    for failure in failures {
        assert_eq!((failure.rank, failure.cause.as_str()), (1, "no memory"));
        assert!(failure.place.ends_with(&format!(", process {}", std::process::id())), "{}", failure.place);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_rank_that_leaves_is_no_failure() {
    ranks(3, |group| {
        group.barrier().unwrap();
        if group.world().rank == 0 {
            // Longer than two heartbeats of the others, who are gone.
            thread::sleep(Duration::from_secs(3));
            assert_eq!(group.failure(), None);
        }
    });
}

#[test]
fn ranks_that_do_not_come_are_named() {
    let error = Group::join(&launch(0, 3, free_port()), Duration::from_secs(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ranks 1 and 2 of 3 did not come within 1 s: were all started, with the same address and port?"
    );
}

#[test]
fn an_address_where_nobody_answers() {
    let port = free_port();
    let error = Group::join(&launch(1, 2, port), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, DistributedError::Unreachable { .. }), "{error}");
    let mut unknown = launch(1, 2, port);
    unknown.address = "no-such-host.invalid".into();
    let error = Group::join(&unknown, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, DistributedError::Resolve { .. }), "{error}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Group::join(&launch(0, 2, port), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, DistributedError::Port { .. }), "{error}");
    let error = Group::join(&launch(1, 2, port), Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, DistributedError::Stranger { .. }), "{error}");
}

#[test]
fn two_processes_of_one_rank() {
    let port = free_port();
    let causes: Vec<String> = thread::scope(|scope| {
        let join = move |rank| Group::join(&launch(rank, 3, port), TIMEOUT).unwrap_err().to_string();
        let threads = [0, 1, 1].map(|rank| scope.spawn(move || join(rank)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    for cause in causes {
        assert!(cause.starts_with("rank 1 ("), "{cause}");
        assert!(cause.contains("has the same rank"), "{cause}");
    }
}

#[test]
fn ranks_that_were_told_different_sizes() {
    let port = free_port();
    let causes: Vec<String> = thread::scope(|scope| {
        let join = move |rank, size| Group::join(&launch(rank, size, port), TIMEOUT).unwrap_err().to_string();
        let threads = [(0, 2), (1, 3)].map(|(rank, size)| scope.spawn(move || join(rank, size)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    for cause in causes {
        assert!(cause.contains("ranks, but rank"), "{cause}");
    }
}
