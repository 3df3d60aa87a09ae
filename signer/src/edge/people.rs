//! Translates who the people are, and their recovery, between the wire and the commands. Holds no
//! rule.

use portcullis_policy::id::{PersonId, Sequence};
use portcullis_policy::record::{RecoveryBegun, Suspended};
use portcullis_proto::v1::people_service_server::PeopleService;
use portcullis_proto::v1::{
    BeginRecoveryRequest, BeginRecoveryResponse, CredentialEntry, FinishRecoveryRequest,
    FinishRecoveryResponse, ListPeopleRequest, ListPeopleResponse, PersonEntry, SuspendRequest,
    SuspendResponse,
};
use tonic::{Request, Response, Status};

use super::approvals::{Approvals, GUARDS, READERS, json, strength};
use super::signing::peer;
use crate::refusal::Refusal;
use crate::roster::{self};
use crate::words;

#[tonic::async_trait]
impl PeopleService for Approvals {
    async fn list_people(
        &self,
        request: Request<ListPeopleRequest>,
    ) -> Result<Response<ListPeopleResponse>, Status> {
        let _present = self.present(&request, READERS)?;
        let view = self.sequencer.view();
        let people = view.people.iter().map(|(id, member)| {
            let credentials = member.person.credentials.iter().map(|credential| {
                let id = credential.id();
                CredentialEntry {
                    credential_json: serde_json::to_string(credential).unwrap_or_default(),
                    suspended: member.silenced.contains(&id),
                    strength: strength(credential.could_be()).into(),
                    id: id.to_string(),
                }
            });
            PersonEntry {
                id: id.to_string(),
                roles: member.person.roles.iter().map(|role| role.name().to_owned()).collect(),
                control: member.person.control.clone(),
                suspended: member.suspended,
                credentials: credentials.collect(),
            }
        });
        let (recovery_sequence, recovery_from_ms) =
            view.recovery.map_or((0, 0), |(begun, from)| (begun.0, from.0));
        Ok(Response::new(ListPeopleResponse {
            people: people.collect(),
            governance_json: serde_json::to_string(&view.governance).unwrap_or_default(),
            vault_id: view.vault.0.to_vec(),
            recovery_sequence,
            recovery_from_ms,
        }))
    }

    async fn suspend(
        &self,
        request: Request<SuspendRequest>,
    ) -> Result<Response<SuspendResponse>, Status> {
        let by = self.present(&request, READERS)?.person().clone();
        let SuspendRequest { person, credential_id, reason } = request.into_inner();
        let person: PersonId =
            person.parse().map_err(|error| Refusal::bad_name("person", &error))?;
        if by != person {
            // Whose own it is may always say that it no longer counts.
            let _guard = roster::person(&self.sequencer.view(), &self.control_of(&by), GUARDS)?;
        }
        let credential = match credential_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|error| Refusal::bad_name("credential_id", &error))?),
        };
        let reason = words::reason_of_a_stop(&reason);
        let suspended = Suspended { by: by.clone(), credential, person: person.clone(), reason };
        let sequence = self.sequencer.suspend(suspended).await?.0;
        tracing::warn!(%by, %person, sequence, "vote suspended");
        Ok(Response::new(SuspendResponse { sequence }))
    }

    async fn begin_recovery(
        &self,
        request: Request<BeginRecoveryRequest>,
    ) -> Result<Response<BeginRecoveryResponse>, Status> {
        // Whoever has a certificate of this plane: the people and theirs may be what is lost.
        let carrier = peer(&request)?.identity().name().to_owned();
        let place = self.recoveries.share(&carrier).try_take();
        let place = place.map_err(|_| Refusal::Overloaded)?;
        let begun: RecoveryBegun = json("recovery_json", &request.into_inner().recovery_json)?;
        words::reason(&begun.renewal.reason)?;
        let sequencer = self.sequencer.clone();
        let announced = place.hold(async move { sequencer.begin_recovery(begun).await }).await?;
        tracing::error!(carrier, sequence = %announced.sequence, "recovery announced");
        let (sequence, from_ms) = (announced.sequence.0, announced.from.0);
        Ok(Response::new(BeginRecoveryResponse { sequence, from_ms }))
    }

    async fn finish_recovery(
        &self,
        request: Request<FinishRecoveryRequest>,
    ) -> Result<Response<FinishRecoveryResponse>, Status> {
        let carrier = peer(&request)?.identity().name().to_owned();
        let begun = Sequence(request.into_inner().recovery_sequence);
        let sequence = self.sequencer.finish_recovery(begun).await?.0;
        tracing::error!(carrier, sequence, "the people were replaced");
        Ok(Response::new(FinishRecoveryResponse { sequence }))
    }
}

impl Approvals {
    fn control_of(&self, person: &PersonId) -> String {
        let view = self.sequencer.view();
        view.people.get(person).map(|person| person.control.clone()).unwrap_or_default()
    }
}
