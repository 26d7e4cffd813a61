"""What hospital systems speak: FHIR R4 (4.0.1) at `/fhir`, with PlanDefinition/$apply, and CDS Hooks 2.0.

codes         systems, LOINC codes, units: what a code of theirs is here
elements      the elements of a resource, read strictly: every fault with its path
taking        resources in: what a resource says, as an entry of a collection of facts (pure)
giving        facts, decisions and tasks as resources (pure)
answering     a recommendation as CarePlan, RequestGroup, MedicationRequest and GuidanceResponse (pure)
search        parameters, pages and Bundles of matches
kinds         each type of resource: who may read it, what it is searched by, where it comes from
writing       create and update, conditionally too; transactions and batches
capability    the CapabilityStatement, made of the same tables
outcome       refusals as OperationOutcome
prefetch      a course document of what a hospital system sent
hooks         CDS Hooks: services, cards, feedback
smart         SMART Backend Services: what is discovered, and tokens for assertions
routes        the blueprints

Nothing here decides anything: what is recorded and answered is that of `workflow`, as at every door.
"""
