// The records of the API, for checking the pages. Generated: python -m tests.test_page_types

export interface AlarmOut {
  id: number;
  kind: string;
  subject: string;
  problem: string;
  remedy: string;
  since: number;
  ended: number | null;
}

export interface AlarmsOut {
  open: Array<AlarmOut>;
  alarms: Array<AlarmOut>;
  next: number | null;
}

export interface AuditEntryOut {
  id: number;
  at: number;
  who: string;
  address: string;
  method: string;
  path: string;
  details: string;
  status: number;
  digest: string;
}

export interface AuditOut {
  entries: Array<AuditEntryOut>;
  next: number | null;
}

export interface CameraCreate {
  display_name?: string | null;
  user?: string | null;
  password?: string | null;
  main_stream?: string | null;
  serial?: string | null;
  transport?: "auto" | "tcp" | "udp" | null;
  timeout_s?: number | null;
  max_fps?: number | null;
  idle_fps?: number | null;
  display_aspect_ratio?: string | null;
  rotate?: 0 | 90 | 180 | 270 | null;
  detect_region?: [number, number, number, number] | null;
  zones?: Array<Array<[number, number]>> | null;
  mask?: Array<Array<[number, number]>> | null;
  skip_still?: boolean | null;
  track_between_detections?: boolean | null;
  reconnect?: boolean | null;
  decoder?: "auto" | "cpu" | "cuda" | "vaapi" | "qsv" | null;
  realtime?: boolean | null;
  gate?: Record<string, any> | null;
  store?: Record<string, any> | null;
  enabled?: boolean | null;
  name: string;
  source: string;
}

export interface CameraOut {
  name: string;
  display_name: string;
  enabled: boolean;
  state: string;
  problem: string | null;
  source: string;
  main_stream: string | null;
  user: string | null;
  has_password: boolean;
  settings: Record<string, any>;
  frames_received: number;
  frames_processed: number;
  frames_searched: number;
  frames_overwritten: number;
  frames_without_motion: number;
  packets_skipped: number;
  packets_idle: number;
  reconnects: number;
  processed_fps: number;
  decode_s: number;
  age_ms: Record<string, number> | null;
  observed: number;
  outcomes: Record<string, number>;
  threshold: number | null;
  identity_switches: number;
  searched_share: number;
  searched_pixels: number;
  deferred_pixels: number;
  loss: Record<string, any> | null;
  drift: Record<string, any> | null;
}

export interface CameraRetentionIn {
  scene_px?: number | null;
  scene_days?: number | null;
  clip_s?: number | null;
  days?: number | null;
  unknown_days?: number | null;
}

export interface CameraUpdate {
  display_name?: string | null;
  user?: string | null;
  password?: string | null;
  main_stream?: string | null;
  serial?: string | null;
  transport?: "auto" | "tcp" | "udp" | null;
  timeout_s?: number | null;
  max_fps?: number | null;
  idle_fps?: number | null;
  display_aspect_ratio?: string | null;
  rotate?: 0 | 90 | 180 | 270 | null;
  detect_region?: [number, number, number, number] | null;
  zones?: Array<Array<[number, number]>> | null;
  mask?: Array<Array<[number, number]>> | null;
  skip_still?: boolean | null;
  track_between_detections?: boolean | null;
  reconnect?: boolean | null;
  decoder?: "auto" | "cpu" | "cuda" | "vaapi" | "qsv" | null;
  realtime?: boolean | null;
  gate?: Record<string, any> | null;
  store?: Record<string, any> | null;
  enabled?: boolean | null;
  source?: string | null;
}

export interface CamerasOut {
  config: string;
  cameras: Array<CameraOut>;
}

export interface ClipOut {
  began: number;
  offset_s: number;
  seconds: number;
  codec: string;
}

export interface ConfigVersionOut {
  config: string;
}

export interface ConfirmationIn {
  name: string;
}

export interface ConfirmationOut {
  name: string | null;
  needed: number;
  by: Array<ConfirmedBy>;
  confirmed: boolean;
}

export interface ConfirmedBy {
  who: string;
  at: number;
}

export interface CorrectionIn {
  name: string | null;
  accept?: boolean;
}

export interface CorrectionOut {
  visit: VisitOut;
  enrolled: number;
  faults: Array<FaultOut>;
}

export interface CreatedOut {
  id: number;
}

export interface DeliveryOut {
  receiver: number;
  problem: string | null;
}

export interface DiscoverRequest {
  hosts?: Array<string>;
  multicast?: boolean;
  user?: string | null;
  password?: string | null;
}

export interface DrainRequest {
  drained: boolean;
}

export interface EnrollmentResultOut {
  added: number;
  faults: Array<FaultOut>;
}

export interface ErasedOut {
  place: string;
  found: number;
  what: string;
}

export interface EventOut {
  at: number;
  kind: string;
  title: string;
  body: string;
  name: string | null;
  camera: string | null;
}

export interface EvidenceOut {
  since: number;
  faces: number;
  scored: number;
  histogram: Array<number>;
  cut: boolean;
  to_read: number;
  gate: Record<string, any>;
}

export interface FaceOutcomeOut {
  face_id: string;
  pts_s: number;
  quality: number | null;
  outcome: string;
  reason: string | null;
  shot_id: string | null;
  picture: boolean;
}

export interface FaultOut {
  kind: string;
  person: string;
  source: string | null;
  reason: string;
  remedy: string;
  other: string | null;
}

export interface FleetCameraOut {
  gate: string | null;
  state: string;
  since_s: number | null;
  processed_fps: number;
}

export interface FleetNodeOut {
  host: string;
  cameras: number;
  capacity: number;
  load: number;
  seen_s: number;
  drained: boolean;
  config: number;
  problem: string;
}

export interface FleetOut {
  fleet: string;
  config: number;
  gates: Record<string, FleetNodeOut>;
  cameras: Record<string, FleetCameraOut>;
}

export interface FoundCameraOut {
  address: string;
  vendor: string;
  model: string;
  serial: string;
  main: FoundStreamOut | null;
  sub: FoundStreamOut | null;
  problem: string | null;
}

export interface FoundStreamOut {
  url: string | null;
  encoding: string;
  width: number;
  height: number;
  fps: number | null;
}

export interface FromShot {
  shot_id: string;
  accept?: boolean;
}

export interface GateUpdate {
  min_quality?: number | null;
  mode?: "end" | "early" | "interval" | null;
  max_per_minute?: number | null;
  good_enough?: number | null;
  top_k?: number | null;
}

export interface HealthOut {
  gate: ProcessOut;
  gate_finished: boolean;
  worker: ProcessOut;
  config: string;
  config_changed: boolean;
  config_problem: string | null;
  report: Record<string, any> | null;
  lines: Array<LogLineOut>;
  stored: Record<string, number>;
  disk: Record<string, number>;
  notices: Array<string>;
}

export interface HostCameraOut {
  name: string;
  label: string;
  state: string;
}

export interface HostOut {
  name: string;
  ok: boolean;
  problem: string | null;
  cameras: Array<HostCameraOut>;
  alarms: number;
}

export interface HostVisitOut {
  host: string;
  visit: VisitOut;
}

export interface HostVisitsOut {
  visits: Array<HostVisitOut>;
  next: string | null;
  away: Record<string, string>;
}

export interface JourneyOut {
  name: string | null;
  unknown_id: number | null;
  first: number;
  last: number;
  visits: Array<JourneyVisitOut>;
}

export interface JourneyVisitOut {
  visit: VisitOut;
  joined_by: "face" | "place";
}

export interface JourneysOut {
  journeys: Array<JourneyOut>;
  travel: Array<TravelTimeOut>;
  complete: boolean;
}

export interface LogLineOut {
  at: number;
  process: string;
  level: string;
  event: string;
  details: Record<string, string>;
}

export interface LoginIn {
  name: string;
  password: string;
}

export interface MembershipIn {
  reason?: string;
  expires?: number | null;
}

export interface MembershipOut {
  person: string;
  reason: string;
  expires: number | null;
}

export interface MergeUnknownIn {
  into: number;
}

export interface NameUnknownIn {
  name: string;
  without?: Array<number>;
}

export interface NewName {
  name: string;
}

export interface NotificationsOut {
  available: boolean;
  push_key: string | null;
  rules: Array<RuleOut>;
  receivers: Array<ReceiverOut>;
}

export interface PasswordIn {
  current: string;
  password: string;
}

export interface PauseRequest {
  paused: boolean;
}

export interface PersonOut {
  name: string;
  pictures: number;
  negatives: number;
  added: number;
  portrait: number | null;
  quality: number | null;
  missing: Array<"front" | "left" | "right">;
  visits: number;
  last_seen: number | null;
}

export interface PictureOut {
  row: number;
  kind: string;
  source: string;
  quality: number;
  accepted: boolean;
  pose: "front" | "left" | "right" | null;
}

export interface ProbeOut {
  width: number;
  height: number;
  codec: string | null;
  fps_measured: number;
  first_frame_s: number;
  advice: string | null;
  transport: string | null;
  video_streams: Array<string>;
  picture: string | null;
}

export interface ProbeRequest {
  source: string;
  user?: string | null;
  password?: string | null;
  transport?: "auto" | "tcp" | "udp";
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  remedy: string;
}

export interface ProcessOut {
  name: string;
  running: boolean;
  pid: number | null;
  since: number | null;
  starts: number;
  last_exit: number | null;
  last_log_lines: string | null;
}

export interface QualityOut {
  value: number;
  raw: number;
  algorithm: string;
  model: string;
  calibration: string;
  version: string;
}

export interface ReasonsOut {
  components: Record<string, number>;
  advice: string;
  defect: string | null;
  gain: number;
}

export interface ReceiverIn {
  name: string;
  address?: string | null;
  push?: Record<string, any> | null;
}

export interface ReceiverOut {
  id: number;
  name: string;
  kind: string;
  address: string;
  waiting: number;
  problem: string | null;
}

export interface RetentionIn {
  all: CameraRetentionIn;
  cameras?: Record<string, any>;
}

export interface RetentionOut {
  config: string;
  days: number;
  max_mb: number;
  all: Record<string, any>;
  cameras: Record<string, Record<string, any>>;
  disk: Record<string, number>;
}

export interface RuleIn {
  name: string;
  enabled?: boolean;
  people?: Array<string>;
  lists?: Array<string>;
  known?: boolean;
  unknown?: boolean;
  alarms?: boolean;
  cameras?: Array<string>;
  days?: Array<number>;
  begin?: string;
  end?: string;
  max_messages?: number;
  period_s?: number;
  picture?: boolean;
  receivers?: Array<number>;
}

export interface RuleOut {
  name: string;
  enabled?: boolean;
  people?: Array<string>;
  lists?: Array<string>;
  known?: boolean;
  unknown?: boolean;
  alarms?: boolean;
  cameras?: Array<string>;
  days?: Array<number>;
  begin?: string;
  end?: string;
  max_messages?: number;
  period_s?: number;
  picture?: boolean;
  receivers?: Array<number>;
  id: number;
}

export interface ScoreOut {
  width: number;
  height: number;
  faces: Array<ScoredOut>;
}

export interface ScoredOut {
  box: [number, number, number, number];
  confidence: number;
  landmarks: Array<[number, number]>;
  quality: QualityOut;
  reasons: ReasonsOut;
  crop: string;
}

export interface SearchHitOut {
  visit: VisitOut;
  similarity: number;
  fpir: number | null;
}

export interface SearchOut {
  searched: number;
  fpir: number | null;
  min_similarity: number;
  complete: boolean;
  hits: Array<SearchHitOut>;
}

export interface SearchStateOut {
  enabled: boolean;
  embedded: number;
  to_embed: number;
}

export interface SessionOut {
  needed: boolean;
  name: string | null;
  role: string | null;
}

export interface ShotOut {
  shot_id: string;
  run_id: string;
  camera: string;
  track_id: number;
  face_id: string;
  rank: number;
  reason: string;
  frame_seq: number;
  pts_s: number;
  captured_at: number | null;
  received_at: number | null;
  frame_size: [number, number];
  box: [number, number, number, number];
  confidence: number;
  landmarks: Array<[number, number]>;
  quality: QualityOut;
  reasons: ReasonsOut | null;
  crop_encoding: string;
  visit: string;
  name: string | null;
  outcome: "forwarded" | "shadow";
}

export interface ShotsOut {
  shots: Array<ShotOut>;
  next: number | null;
}

export interface SplitUnknownIn {
  rows: Array<number>;
}

export interface TimelineOut {
  visit: VisitOut | null;
  camera: string;
  track_id: number;
  first: number;
  last: number;
  faces: number;
  outcomes: Record<string, number>;
  threshold: number | null;
  events: Array<FaceOutcomeOut>;
  shots: Array<ShotOut>;
  scene: string | null;
  clip: ClipOut | null;
}

export interface TokenCreate {
  name: string;
  role?: "viewer" | "administrator";
}

export interface TokenCreatedOut {
  id: number;
  name: string;
  role: string;
  created: number;
  token: string;
}

export interface TokenOut {
  id: number;
  name: string;
  role: string;
  created: number;
}

export interface TrackSummaryOut {
  run_id: string;
  track_id: number;
  first: number;
  last: number;
  faces: number;
  quality: number | null;
  outcomes: Record<string, number>;
  sent: number;
}

export interface TracksOut {
  tracks: Array<TrackSummaryOut>;
}

export interface TravelTimeOut {
  start: string;
  end: string;
  least_s: number;
  most_s: number;
  walks: number;
}

export interface TrialOut {
  begin: number;
  end: number;
  count: number;
  told: Array<EventOut>;
  held_back: number;
}

export interface TuningOutcomeOut {
  faces: number;
  shots: number;
  tracks: number;
  outcomes: Record<string, number>;
  named: number | null;
  people: Array<string> | null;
  to_recognize: number;
}

export interface UnknownOut {
  id: number;
  visits: Array<UnknownVisitOut>;
  cameras: Array<string>;
  days: number;
  number: number | null;
  first_seen: number;
  visit_count: number;
}

export interface UnknownVisitOut {
  row: number;
  camera: string;
  seen: number;
  quality: number;
}

export interface UserCreate {
  role: "viewer" | "administrator";
  cameras?: Array<string> | null;
  name: string;
  password: string;
}

export interface UserOut {
  name: string;
  role: string;
  cameras: Array<string> | null;
}

export interface UserPassword {
  password: string;
}

export interface UserUpdate {
  role: "viewer" | "administrator";
  cameras?: Array<string> | null;
}

export interface VisitOut {
  id: number;
  visit: string;
  camera: string;
  track_id: number;
  first: number;
  last: number;
  shots: number;
  best: string | null;
  quality: number;
  answered: boolean;
  name: string | null;
  similarity: number | null;
  margin: number | null;
  fpir: number | null;
  ended: boolean;
  corrected: number | null;
  unknown_id: number | null;
  seen_before: number | null;
  first_seen: number | null;
}

export interface VisitsOut {
  visits: Array<VisitOut>;
  next: number | null;
  name: string | null;
}

export interface WalkInOut {
  state: "nobody" | "several" | "poor" | "pose" | "refused" | "added";
  pose: "front" | "left" | "right" | null;
  quality: number;
  advice: string;
  faults: Array<FaultOut>;
}

export interface WalkInRequest {
  camera: string;
  poses: Array<"front" | "left" | "right">;
}

export interface WatchListIn {
  color?: string;
  fpir?: number | null;
}

export interface WatchListOut {
  name: string;
  color: string;
  fpir: number | null;
  people: Array<MembershipOut>;
}
