// A load of single events and batches for a deployment of yours, with k6 (https://k6.io).
//
//   k6 run -e URL=https://events.example.com -e KEY=hrk_... benchmarks/clients/k6.js
//
// Further settings, each with -e: SINGLES and BATCHES (requests a second, default 200 and 10),
// BATCH (events in a batch, default 1000, at most 1000), SECONDS (default 60).
//
// The key needs the scope `ingest`, and its workspace a limit above the rate, or most answers are
// 429: headrace workspaces create load --requests-per-minute 1000000. Use a workspace of its own:
// the events stay. Requests start at the rate whatever the answers do, so that a slow server is
// seen as latency; `dropped_iterations` counts those that k6 itself could not start.
//
// Ends with an error if a threshold below is crossed.

import http from 'k6/http';
import { check } from 'k6';

const BASE = (__ENV.URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');
const BATCH = Number(__ENV.BATCH || 1000);
const DURATION = `${Number(__ENV.SECONDS || 60)}s`;
const EVENTS = ['paywall_viewed', 'app_opened', 'screen_viewed', 'feature_used', 'level_up'];
const DEVICES = 10000;
const HEADERS = {
  Authorization: `Bearer ${__ENV.KEY}`,
  'Content-Type': 'application/json',
};

function atRate(rate, exec) {
  return {
    executor: 'constant-arrival-rate',
    rate: Number(rate),
    timeUnit: '1s',
    duration: DURATION,
    preAllocatedVUs: 20,
    maxVUs: 500,
    exec,
  };
}

export const options = {
  scenarios: {
    singles: atRate(__ENV.SINGLES || 200, 'single'),
    batches: atRate(__ENV.BATCHES || 10, 'batch'),
  },
  thresholds: {
    checks: ['rate>0.999'],
    http_req_failed: ['rate<0.001'],
    dropped_iterations: ['count<10'],
    'http_req_duration{scenario:singles}': ['p(50)<50', 'p(99)<250'],
    'http_req_duration{scenario:batches}': ['p(50)<200', 'p(99)<1000'],
  },
};

export function setup() {
  if (!__ENV.KEY) {
    throw new Error('no API key: pass one with -e KEY=hrk_...');
  }
}

// One event of about 350 bytes. Two of three come after the login; level_up has no schema.
function makeEvent() {
  const number = Math.floor(Math.random() * 1e9);
  const device = Math.floor(Math.random() * DEVICES);
  return {
    event: EVENTS[number % EVENTS.length],
    user_id: number % 3 ? `usr_${String(device >> 1).padStart(8, '0')}` : null,
    anonymous_id: `device-${String(device).padStart(12, '0')}`,
    timestamp: new Date().toISOString(),
    properties: {
      paywall_id: 'pw_annual_v3',
      offer_id: `offer_intro_${number % 50}pct`,
      context: `onboarding_step_${number % 7}`,
      app_version: '7.7.3',
      platform: 'ios',
      locale: 'en_IN',
      experiment_arm: `arm_${number % 4}`,
      session_id: Math.random().toString(16).slice(2, 18).padEnd(16, '0'),
      n: number,
    },
  };
}

function post(path, body) {
  return http.post(`${BASE}${path}`, JSON.stringify(body), { headers: HEADERS });
}

export function single() {
  const answer = post('/v1/events', makeEvent());
  check(answer, {
    'the event was taken': (got) => got.status === 200 && Boolean(got.json('event_id')),
  });
}

export function batch() {
  const events = Array.from({ length: BATCH }, makeEvent);
  const answer = post('/v1/batch/events', { events });
  check(answer, {
    'every event of the batch was taken': (got) =>
      got.status === 200 && got.json('accepted') === BATCH,
  });
}
