//! The controller under the chart's Role: what it asks of the API server is what the Role grants, no more and no less.
