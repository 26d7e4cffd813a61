"""The REST API: schema in, a step of workflow, schema out. One blueprint a noun.

door          what each request passes: who asks, whether it may, one transaction, the trail, the answer kept
problems      refusals as RFC 9457 problems, by one table
wire          JSON in and out, exactly; headers
spec          OpenAPI 3.1 and the page that shows it
recommend protocols clinics patients courses facts accounts audit     the blueprints
operations    alive, ready, metrics
"""
