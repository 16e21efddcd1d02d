//! Network with its logits divided by a temperature.

use ferronnx_models::roles::Roles;
use ferronnx_models::{Module, Ops};

/// Network whose output is divided by a temperature, or left as it is without one.
pub(super) struct Scaled<'a, M> {
    pub(super) network: &'a M,
    pub(super) temperature: Option<f32>,
}

impl<M: Module> Module for Scaled<'_, M> {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let logits = self.network.forward(ops, x)?;
        match self.temperature {
            Some(temperature) => ops.scope("temperature", || ops.divide(&logits, temperature)),
            None => Ok(logits),
        }
    }

    fn roles(&self) -> Roles {
        self.network.roles()
    }
}
