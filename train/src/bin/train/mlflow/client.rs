//! Client of MLflow's REST interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::Target;
use crate::fetch::retry::Failure;

/// Time after which a server that does not answer is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Time after which a connection is given up.
const CONNECT: Duration = Duration::from_secs(5);
/// Characters of a server's message that are shown.
const SHOWN: usize = 200;

/// Client of one server.
pub struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    answers: Arc<AtomicUsize>,
}

/// Run on a server.
pub struct Created {
    /// Id of the run.
    pub run_id: String,
    /// Place of its artifacts.
    pub artifact_uri: String,
}

impl Client {
    /// Makes a client that uses the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`, ...).
    pub fn new(target: &Target) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(SILENCE))
            // The body of an error says what is wrong.
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            url: target.url.clone(),
            authorization: target.authorization.clone(),
            answers: Arc::default(),
        }
    }

    /// Number of answers so far, for other threads to see that the server is alive.
    pub fn answers(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.answers)
    }

    /// Finds the experiment of this name, or creates it; returns its id.
    pub fn experiment(&self, name: &str) -> Result<String, Failure> {
        if let Some(id) = self.find_experiment(name)? {
            return Ok(id);
        }
        match self.post("experiments/create", &json!({ "name": name })) {
            Ok(answer) => text(&answer, &["experiment_id"]),
            // Another run may have created it meanwhile.
            Err(failure) => self.find_experiment(name)?.ok_or(failure),
        }
    }

    fn find_experiment(&self, name: &str) -> Result<Option<String>, Failure> {
        let url = self.endpoint("experiments/get-by-name");
        let request = self.agent.get(url).query("experiment_name", name);
        let request = self
            .authorization
            .iter()
            .fold(request, |request, value| request.header(header::AUTHORIZATION, value));
        let mut response = request.call()?;
        if response.status() == 404 {
            let answer: Value = serde_json::from_str(&body(&mut response)?).unwrap_or_default();
            // A server of another kind knows no such path at all.
            if answer["error_code"] == "RESOURCE_DOES_NOT_EXIST" {
                return Ok(None);
            }
            return Err(Failure::Final(format!("{} is no MLflow server: it answers 404", self.url)));
        }
        let answer = self.checked(response)?;
        if answer["experiment"]["lifecycle_stage"] == "deleted" {
            return Err(Failure::Final(format!(
                "the experiment {name:?} is deleted: restore it, or choose another name"
            )));
        }
        text(&answer, &["experiment", "experiment_id"]).map(Some)
    }

    /// Creates a run.
    pub fn create_run(
        &self,
        experiment: &str,
        name: &str,
        start: i64,
        tags: &Value,
    ) -> Result<Created, Failure> {
        let request =
            json!({ "experiment_id": experiment, "run_name": name, "start_time": start, "tags": tags });
        let answer = self.post("runs/create", &request)?;
        let info = |key| text(&answer, &["run", "info", key]);
        Ok(Created { run_id: info("run_id")?, artifact_uri: info("artifact_uri").unwrap_or_default() })
    }

    /// Sends to a path of the API; returns the answer.
    pub fn post(&self, path: &str, request: &Value) -> Result<Value, Failure> {
        let post = self.agent.post(self.endpoint(path)).header(header::CONTENT_TYPE, "application/json");
        let post =
            self.authorization.iter().fold(post, |post, value| post.header(header::AUTHORIZATION, value));
        self.checked(post.send(request.to_string())?)
    }

    /// Puts a file among the artifacts of a run, where the server stores them itself; false where it does not.
    pub fn put_artifact(&self, artifact_uri: &str, name: &str, content: &[u8]) -> Result<bool, Failure> {
        let place = artifact_uri.strip_prefix("mlflow-artifacts:/").filter(|place| !place.starts_with('/'));
        let Some(place) = place else { return Ok(false) };
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{place}/{name}", self.url);
        let put = self.agent.put(url);
        let put = self.authorization.iter().fold(put, |put, value| put.header(header::AUTHORIZATION, value));
        self.checked(put.send(content)?).map(|_| true)
    }

    /// Reads the JSON of an answer; other states than success are failures with the server's message.
    fn checked(&self, mut response: Response<Body>) -> Result<Value, Failure> {
        let status = response.status();
        let text = body(&mut response)?;
        self.answers.fetch_add(1, Ordering::Relaxed);
        if status.is_success() {
            return Ok(serde_json::from_str(&text).unwrap_or_default());
        }
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let message: String = answer["message"].as_str().unwrap_or_default().chars().take(SHOWN).collect();
        let what = if message.is_empty() { String::new() } else { format!(": {message}") };
        Err(Failure::of_status(status.as_u16(), &what))
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow/{path}", self.url)
    }
}

fn body(response: &mut Response<Body>) -> Result<String, Failure> {
    Ok(response.body_mut().read_to_string()?)
}

fn text(answer: &Value, path: &[&str]) -> Result<String, Failure> {
    let value = path.iter().fold(answer, |value, key| &value[*key]);
    let missing = || Failure::Final(format!("the server's answer has no {}: is it MLflow?", path.join(".")));
    value.as_str().map(Into::into).ok_or_else(missing)
}
