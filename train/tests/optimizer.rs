//! SGD, Adam and AdamW compared with PyTorch's, and their saved state.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;

use ferronnx_models::Weights;
use ferronnx_models::checkpoint;
use ferronnx_train::optimizer::{Algorithm, Optimizer, Settings};
use ferronnx_train::params::{to_array, to_tensor};
use ferronnx_train::recipe::{Course, Cycle, Schedule};
use tch::{Device, Kind, Tensor};

const STEPS: usize = 200;
const NAMES: [&str; 2] = ["a", "b"];

/// Steps that `optimizer/generate.py` recorded of `adam` or `sgd`.
fn recorded(of: &str) -> Weights {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/optimizer");
    checkpoint::load(folder.join(format!("{of}.safetensors"))).unwrap()
}

fn cases() -> [(&'static str, f64, Settings); 3] {
    let default = Settings::default();
    [
        ("adam", 1e-3, default),
        ("adam_decay", 3e-3, Settings { betas: [0.8, 0.99], eps: 1e-6, weight_decay: 0.05, ..default }),
        ("adamw", 1e-2, Settings { name: Algorithm::AdamW, weight_decay: 0.01, ..default }),
    ]
}

fn sgd_cases() -> [(&'static str, f64, Settings); 4] {
    let sgd = Settings { name: Algorithm::Sgd, ..Settings::default() };
    let nesterov = Settings { momentum: 0.9, nesterov: true, ..sgd };
    [
        ("sgd", 1e-2, sgd),
        ("sgd_decay", 1e-2, Settings { momentum: 0.8, weight_decay: 0.05, ..sgd }),
        ("nesterov", 1e-2, Settings { weight_decay: 5e-4, ..nesterov }),
        (
            "nesterov_weights_only",
            0.1,
            Settings { weight_decay: 0.05, decay_biases_and_norms: false, ..nesterov },
        ),
    ]
}

/// Rate and momentum of a step: those of PyTorch's `OneCycleLR` in the last case of SGD.
fn at(case: &str, rate: f64, step: usize) -> (f64, Option<f64>) {
    if case != "nesterov_weights_only" {
        return (rate, None);
    }
    let cycle = Cycle { momentum: Some([0.95, 0.85]), ..Cycle::default() };
    let course = Course { schedule: Schedule::OneCycle, cycle, warm_up: 0, steps: STEPS };
    (rate * course.factor(step), course.momentum(step))
}

/// Makes the parameters at their start, and an optimizer over them.
fn begin(recorded: &Weights, settings: Settings) -> (Vec<Tensor>, Optimizer) {
    let mut optimizer = Optimizer::new(settings);
    let start = |name: &str| to_tensor(&recorded[&format!("start.{name}")]).unwrap().set_requires_grad(true);
    let parameters: Vec<Tensor> = NAMES.map(start).into();
    for (name, parameter) in NAMES.iter().zip(&parameters) {
        optimizer.add(name, parameter, 0).unwrap();
    }
    (parameters, optimizer)
}

/// Sets the recorded gradient of a step, as autograd would leave it.
fn backward(recorded: &Weights, parameters: &[Tensor], optimizer: &Optimizer, step: usize) {
    optimizer.forget_gradients().unwrap();
    for (name, parameter) in NAMES.iter().zip(parameters) {
        let gradients = to_tensor(&recorded[&format!("gradients.{name}")]).unwrap();
        (parameter * gradients.get(step as i64)).sum(Kind::Float).backward();
    }
}

fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    let scale = expected.abs().max().double_value(&[]);
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance * scale, "{what}: {difference:e} of {scale}");
}

#[test]
fn two_hundred_steps_are_pytorchs() {
    let recorded = recorded("adam");
    for (case, rate, settings) in cases() {
        let (parameters, optimizer) = begin(&recorded, settings);
        for step in 0..STEPS {
            backward(&recorded, &parameters, &optimizer, step);
            optimizer.step(&[rate], None, None).unwrap();
        }
        let state = optimizer.state().unwrap();
        for (name, parameter) in NAMES.iter().zip(&parameters) {
            let expected = |part: &str| to_tensor(&recorded[&format!("{case}.{name}{part}")]).unwrap();
            assert_close(&parameter.detach(), &expected(""), 1e-6, &format!("{case}.{name}"));
            // Sums of 200 single-precision terms, added in another order.
            for part in [".exp_avg", ".exp_avg_sq"] {
                let found = to_tensor(&state[&format!("{name}{part}")]).unwrap();
                assert_close(&found, &expected(part), 3e-6, &format!("{case}.{name}{part}"));
            }
            assert_eq!(state[&format!("{name}.step")].sum(), STEPS as f32);
        }
    }
}

#[test]
fn two_hundred_steps_of_sgd_are_pytorchs() {
    let recorded = recorded("sgd");
    for (case, rate, settings) in sgd_cases() {
        let (parameters, optimizer) = begin(&recorded, settings);
        for step in 0..STEPS {
            backward(&recorded, &parameters, &optimizer, step);
            let (rate, momentum) = at(case, rate, step);
            optimizer.step(&[rate], momentum, None).unwrap();
        }
        let state = optimizer.state().unwrap();
        for (name, parameter) in NAMES.iter().zip(&parameters) {
            let expected = to_tensor(&recorded[&format!("{case}.{name}")]).unwrap();
            assert_close(&parameter.detach(), &expected, 1e-6, &format!("{case}.{name}"));
            let part = format!("{name}.momentum_buffer");
            match recorded.get(&format!("{case}.{part}")) {
                Some(expected) => {
                    let (found, expected) = (to_tensor(&state[&part]).unwrap(), to_tensor(expected).unwrap());
                    assert_close(&found, &expected, 3e-6, &format!("{case}.{part}"));
                }
                None => assert_eq!(settings.momentum, 0.0, "{case}"),
            }
        }
    }
}

#[test]
fn a_saved_state_goes_on_to_the_bit() {
    let recorded = recorded("sgd");
    for (case, rate, settings) in cases().into_iter().chain(sgd_cases()) {
        let run = |interrupted: bool| {
            let (mut parameters, mut optimizer) = begin(&recorded, settings);
            for step in 0..STEPS {
                if interrupted && step == 77 {
                    let state = optimizer.state().unwrap();
                    let values: Vec<_> = parameters.iter().map(|p| to_array(p).unwrap()).collect();
                    (parameters, optimizer) = begin(&recorded, settings);
                    for (parameter, values) in parameters.iter_mut().zip(&values) {
                        tch::no_grad(|| parameter.copy_(&to_tensor(values).unwrap()));
                    }
                    optimizer.load_state(&state).unwrap();
                }
                backward(&recorded, &parameters, &optimizer, step);
                let (rate, momentum) = at(case, rate, step);
                optimizer.step(&[rate], momentum, None).unwrap();
            }
            parameters.iter().map(|p| to_array(p).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(true), run(false));
    }
}

#[test]
fn a_state_of_other_parameters_is_refused() {
    let (_, optimizer) = begin(&recorded("adam"), Settings::default());
    let mut state = optimizer.state().unwrap();
    state.shift_remove("b.exp_avg");
    let mut other = Optimizer::new(Settings::default());
    let b = Tensor::zeros([7], (Kind::Float, Device::Cpu));
    other.add("b", &b, 0).unwrap();
    assert!(other.load_state(&state).unwrap_err().to_string().contains("lacks b.exp_avg"));
    let mut other = Optimizer::new(Settings::default());
    other.add("a", &b, 0).unwrap();
    assert!(other.load_state(&state).unwrap_err().to_string().contains("a.exp_avg has another shape"));
}

#[test]
fn groups_move_at_their_own_rate_and_an_overflow_moves_nothing() {
    let parameters = [0, 1].map(|_| Tensor::zeros([3], (Kind::Float, Device::Cpu)).set_requires_grad(true));
    let mut optimizer = Optimizer::new(Settings::default());
    for (group, parameter) in parameters.iter().enumerate() {
        optimizer.add(&group.to_string(), parameter, group).unwrap();
        parameter.sum(Kind::Float).backward();
    }
    let overflow = Tensor::from_slice(&[1.0f32]);
    optimizer.step(&[0.1, 0.2], None, Some(&overflow)).unwrap();
    assert_eq!(parameters[0].abs().sum(Kind::Float).double_value(&[]), 0.0);
    assert_eq!(optimizer.state().unwrap()["0.step"].sum(), 0.0);
    optimizer.step(&[0.1, 0.2], None, Some(&Tensor::from_slice(&[0.0f32]))).unwrap();
    // Adam's first step is the rate itself.
    let moved = parameters.map(|parameter| -parameter.double_value(&[0]));
    assert!((moved[0] - 0.1).abs() < 1e-6 && (moved[1] - 0.2).abs() < 1e-6, "{moved:?}");
}

#[test]
fn gradients_are_clipped_together() {
    let (a, b) = (
        Tensor::zeros([1], (Kind::Float, Device::Cpu)).set_requires_grad(true),
        Tensor::zeros([1], (Kind::Float, Device::Cpu)).set_requires_grad(true),
    );
    let mut optimizer = Optimizer::new(Settings::default());
    optimizer.add("a", &a, 0).unwrap();
    optimizer.add("b", &b, 0).unwrap();
    (&a * 3.0 + &b * 4.0).sum(Kind::Float).backward();
    optimizer.clip(10.0).unwrap();
    assert_eq!((a.grad().double_value(&[0]), b.grad().double_value(&[0])), (3.0, 4.0), "short ones stay");
    optimizer.clip(1.0).unwrap();
    let (a, b) = (a.grad().double_value(&[0]), b.grad().double_value(&[0]));
    assert!((a - 0.6).abs() < 1e-6 && (b - 0.8).abs() < 1e-6, "{a} {b}");
}
