use super::*;

fn find(request: Request, variables: &str) -> Result<Option<Launch>, LaunchError> {
    let pairs: Vec<(&str, &str)> =
        variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    Launch::find(request, |name| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

fn auto(variables: &str) -> Result<Option<Launch>, LaunchError> {
    find(Request::Auto, variables)
}

fn refusal(request: Request, variables: &str) -> String {
    find(request, variables).unwrap_err().to_string()
}

#[test]
fn torchrun_and_kubeflow() {
    let launch = auto(
        "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=node1 MASTER_PORT=29400 \
         TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1",
    );
    let world = World { rank: 3, size: 4, local_rank: 1 };
    let expected = Launch {
        world,
        address: "node1".into(),
        port: 29400,
        agent_store: true,
        restart: 2,
        by: Launcher::Torchrun,
    };
    assert_eq!(launch, Ok(Some(expected)));
    let launch = auto("RANK=1 WORLD_SIZE=2 MASTER_ADDR=job-master-0 MASTER_PORT=23456").unwrap().unwrap();
    assert_eq!(launch.world, World { rank: 1, size: 2, local_rank: 0 });
    assert!(!launch.agent_store && launch.restart == 0);
}

#[test]
fn slurm_steps_of_several_tasks() {
    let step = "SLURM_JOB_ID=31999 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=2 SLURM_LOCALID=1 \
                SLURM_JOB_NODELIST=node[03-07,9]";
    let launch = auto(step).unwrap().unwrap();
    assert_eq!(launch.world, World { rank: 2, size: 4, local_rank: 1 });
    assert_eq!((launch.address.as_str(), launch.port, launch.by), ("node03", 29_999, Launcher::Slurm));
    let launch = auto(&format!("{step} MASTER_ADDR=other MASTER_PORT=1234")).unwrap().unwrap();
    assert_eq!((launch.address.as_str(), launch.port), ("other", 1234));
    // A script of a job is no step of several tasks, unless it says that it is.
    let job = "SLURM_JOB_ID=1 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_JOB_NODELIST=a,b";
    assert_eq!(auto(job), Ok(None));
    assert_eq!(auto(&format!("{job} SLURM_STEP_NUM_TASKS=1")), Ok(None));
    let launch = find(Request::By(Launcher::Slurm), job).unwrap().unwrap();
    assert_eq!((launch.world.size, launch.address.as_str()), (4, "a"));
}

#[test]
fn open_mpi() {
    let here = "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1 \
                OMPI_COMM_WORLD_LOCAL_SIZE=2";
    let launch = auto(here).unwrap().unwrap();
    assert_eq!((launch.world.rank, launch.address.as_str(), launch.port), (1, "127.0.0.1", 29500));
    let apart = here.replace("LOCAL_RANK=1", "LOCAL_RANK=0").replace("LOCAL_SIZE=2", "LOCAL_SIZE=1");
    assert!(refusal(Request::Auto, &apart).contains("mpirun -x MASTER_ADDR=NAME"));
    let launch = auto(&format!("{apart} MASTER_ADDR=node1")).unwrap().unwrap();
    assert_eq!(launch.address, "node1");
}

#[test]
fn one_process_trains_alone() {
    for variables in ["", "WORLD_SIZE=1", "RANK=0", "WORLD_SIZE=1 RANK=0", "OMPI_COMM_WORLD_SIZE=1"] {
        assert_eq!(auto(variables), Ok(None), "{variables}");
    }
    assert_eq!(find(Request::Off, "WORLD_SIZE=1 RANK=0 MASTER_ADDR=a MASTER_PORT=1"), Ok(None));
    assert_eq!(find(Request::Off, "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1"), Ok(None));
    let whole = auto("WORLD_SIZE=1 RANK=0 MASTER_ADDR=a MASTER_PORT=1").unwrap();
    assert!(whole.is_some_and(|launch| launch.world == World::single()));
}

#[test]
fn several_processes_are_never_ignored() {
    let refused = [
        ("WORLD_SIZE=2", "RANK, which is missing"),
        ("WORLD_SIZE=2 RANK=0", "MASTER_ADDR, which is missing"),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=a", "MASTER_PORT, which is missing"),
        ("WORLD_SIZE=2 RANK=2 MASTER_ADDR=a MASTER_PORT=1", "RANK is 2, but WORLD_SIZE is 2"),
        ("WORLD_SIZE=2 RANK=-1 MASTER_ADDR=a MASTER_PORT=1", "RANK is \"-1\""),
        ("WORLD_SIZE=two RANK=0 MASTER_ADDR=a MASTER_PORT=1", "WORLD_SIZE is \"two\""),
        ("WORLD_SIZE=0 RANK=0 MASTER_ADDR=a MASTER_PORT=1", "WORLD_SIZE is \"0\""),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=a MASTER_PORT=0", "MASTER_PORT is \"0\""),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=a MASTER_PORT=70000", "MASTER_PORT is \"70000\""),
        ("RANK=1 MASTER_ADDR=a MASTER_PORT=1", "WORLD_SIZE, which is missing"),
        (
            "WORLD_SIZE=4 RANK=1 LOCAL_RANK=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1",
            "LOCAL_RANK is 2, but LOCAL_WORLD_SIZE is 2",
        ),
        ("SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0", "SLURM_JOB_NODELIST, which is missing"),
        ("SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 SLURM_JOB_NODELIST=a[1", "not a list of machines"),
        ("SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID, which is missing"),
    ];
    for (variables, expected) in refused {
        let message = refusal(Request::Auto, variables);
        assert!(message.contains(expected), "{variables}: {message}");
    }
    assert!(
        refusal(Request::Off, "WORLD_SIZE=2").contains("WORLD_SIZE is 2, but distributed training is off")
    );
    assert!(refusal(Request::By(Launcher::Torchrun), "").contains("WORLD_SIZE, which is missing"));
    assert!(refusal(Request::By(Launcher::Slurm), "").contains("start inside of an srun step"));
    assert!(refusal(Request::By(Launcher::Mpi), "").contains("start through mpirun"));
}
