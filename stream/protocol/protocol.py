"""Protocol between page and server, version 3.

A page of another version is refused: ``POST /offer`` without ``"protocol": 3`` is answered 400 ``protocol``, a
websocket without ``?protocol=3`` gets `hello` and is closed with code 4406. Both mean: reload the page. Version 1
called renders pictures and had no event `stored`; in version 2 a session's id was its secret, and renders were all that
a page could draw.

HTTP
----
Every error is ``{"error": {"code": str, "message": str}}`` with the status given here.

Whoever begins a session owns it: the answer to the first request sets the cookie ``fitme-owner`` (over TLS
``__Host-fitme-owner``), a random token that no script can read; programs may send it back as ``Authorization: Bearer
TOKEN`` instead. All requests on a session need its owner's token, else 403 ``forbidden``. A session's id is a public
name without rights. `POST /session/{session}/links` makes links by which others may watch, and nothing else.

Any request may be answered 403 ``bad_host`` or ``bad_origin`` (another site's page asked), 413 ``too_large``, or 408
``timeout`` when its body is too slow.

``GET /config``
    ``{"protocol": 3, "iceServers": [RTCIceServer...], "limits": {"sessions": int, "message_bytes": int,
    "render_size": int, "grace_seconds": float}, "sample": str | null, "key_needed": bool}``. `iceServers` goes into
    `RTCPeerConnection` unchanged; `sample` is the address of a clip of a synthetic head, relative to the page;
    `key_needed`: ``POST /access`` comes first.
``POST /access`` with ``{"key": str}``
    204 and a cookie that lets this browser begin sessions, where the server has an access key; programs may send the
    header ``X-Fitme-Key`` instead. 403 ``bad_key``.
``POST /offer`` with ``{"protocol": 3, "sdp": str, "type": "offer", "session"?: str}``
    200 ``{"sdp": str, "type": "answer", "session": str, "peer": int, "resumed": bool}``. Without `session` a new
    session begins. With it the peer joins that session: one that still runs, one whose peer went away less than
    `grace_seconds` ago, or one that was kept (`resumed` is true for all). A session has one camera at a time: a newer
    peer replaces the older one, and the pages receive ``{"type": "peer", "peer": OLD, "state": "replaced"}``. The
    answer holds all of the server's ICE candidates.
    400 ``bad_offer`` or ``protocol``, 401 ``no_user`` (a proxy must sign the user in), 403 ``no_key`` or ``forbidden``,
    404 ``unknown_session``, 429 ``too_many`` (sessions of this user or address), 503 ``full`` or ``engine_gone`` with
    ``Retry-After``. With ``full`` comes ``"place": int`` in `error`: the number in the waiting line, from 1, held as
    long as the same browser keeps asking every `Retry-After` seconds.
``POST /check`` with ``{"protocol": 3, "sdp": str, "type": "offer"}``
    200 ``{"sdp": str, "type": "answer"}``: a connection without media, by which a page finds out whether UDP gets
    through; the offer has one data channel, and all of its ICE candidates. It is closed after some seconds. 400
    ``bad_offer``, 429 ``too_many_checks``.
``PATCH /offer/{session}`` with ``{"peer": int, "candidate": str | null, "sdpMid"?: str | null,
"sdpMLineIndex"?: int | null}``
    Trickle ICE: 204. `candidate` is `RTCIceCandidate.candidate`; null or "" ends them. A candidate of a replaced peer
    is ignored. 400 ``bad_candidate``, 404 ``unknown_session``.
``GET /session/{session}/avatar.glb``
    200 ``model/gltf-binary``; 404 ``unknown_session``; 409 ``not_ready`` (with ``Retry-After``) before the first skin.
``GET /piece/{digest}``
    200 ``application/octet-stream``: a piece of the avatar that is everybody's (`stream.protocol.avatar`), named by
    events and pieces. It never changes. 404 ``unknown_piece``.
``POST /session/{session}/keep`` with ``{"keep": bool}``
    200 ``{"kept": bool, "stored": bool}``. A session that is not kept is erased when it ends. `stored` is false before
    the first round and while the store cannot be written: the event `stored` follows. 500 ``store_failed``: the choice
    itself could not be written.
``DELETE /session/{session}``
    204: the session has ended and all of its data is gone, kept or not. 404 ``unknown_session``. 500 ``erase_failed``:
    the session has ended, but something of it could not be removed yet; erasing is tried again until all is gone, by
    later servers, too.
``GET /session/{session}/motion``
    200 ``{"outputs": [str...], "sources": [str...], "send": bool, "source": str | null, "trouble": str | null}``:
    addresses of other programs that the operator offers, whether the session's motion goes to `outputs`, which of
    `sources` moves the avatar (null: the camera), and what went wrong last.
``POST /session/{session}/motion`` with ``{"send"?: bool, "source"?: str | null}``
    The same answer. 404 ``unknown_motion``: not offered; 409 ``motion_taken``: another session or program has it.
``POST /session/{session}/links`` with ``{"seconds"?: float}``
    200 ``{"id": str, "token": str, "path": str, "expires_s": float | null}``: a new view link; `path` is the address of
    its page, relative to this one. It may watch until it is revoked, the session ends or `seconds` are over. 409
    ``too_many_links``.
``GET /session/{session}/links``
    200 ``{"links": [{"id": str, "viewers": int, "expires_s": float | null}...]}``, without their tokens.
``DELETE /session/{session}/links/{link}``
    204: revoked; whoever watches by it is disconnected.
``GET /view/{token}``
    The page of a view link.
``POST /view/{token}/voice`` with ``{"protocol": 3, "sdp": str, "type": "offer"}``
    200 ``{"sdp": str, "type": "answer"}``: a connection that receives the owner's voice. The offer receives audio, and
    holds all of its ICE candidates. 404 ``unknown_session``, 409 ``no_voice``: the microphone is off, as the event
    `voice` has it. An owner's offer with an audio track beside the video turns it on.
``POST /admin/drain``
    202 ``{"seconds": float}``, from the operator's networks only: `/readyz` is 503 from now on, and after that time the
    server ends as on SIGTERM.
``GET /healthz``
    200 ``{"status": "ok", "sessions": int, "loop_lag_ms": float}``, or 503 with ``"status": "starting"``,
    ``"loop_blocked"`` or ``"engine_gone"``.
``GET /`` and everything else
    The page: the files of ``client/``.

Websocket ``/session/{session}/view?protocol=3&receive=FEEDS&have=VERSION``
-----------------------------------------------------------------------------
For the owner. Any number of pages may watch one session; each gets all events and the feeds that it asks for, at its
own pace. `receive` names them with commas between (`Feed`); left out, they are ``renders,landmarks``, and a message
``receive`` changes them later. `have` is what the page has of the avatar from an earlier connection: the `avatar` of
that `hello`, a dot, and the version of the last piece with the flag `COMPLETE`; only newer pieces are then sent.
Controls are the session's, not the page's: the last change wins and every page receives it as a `scene` event. On
joining, `hello` comes first, then the last event of each persistent kind (`stream.protocol.events.PERSISTENT_EVENTS`),
then persistent errors (`PERSISTENT_ERRORS`), then events as they happen.

*Server to page, text*: the JSON of the ``...Event`` classes of `stream.protocol.events`, told apart by ``"type"``. A
page ignores types and fields that it does not know.

*Server to page, binary*, told apart by their first four bytes: parameters (`stream.protocol.parameters`), pieces of the
avatar (`stream.protocol.avatar`) and renders (`stream.protocol.render`), one a message. Parameters and pieces are not
acknowledged: for a page that reads slowly, only the newest parameters wait, and the newest piece of each slot. A page
acknowledges each render once it has drawn or dropped it; the next one is sent only then, so that at most one is in
flight, and it is always the newest. A page that shows its camera flipped, as mirrors do, flips the avatar, too.

*Page to server, text*: the JSON of the classes of `stream.protocol.client_messages`, told apart by ``"type"``. Parsing
is strict: an unknown type, an unknown or missing field, or a value out of range is answered by an `error` event and
changes nothing; so is a binary message. A message larger than `limits.message_bytes` closes the websocket with code
1009. Colours on the wire are sRGB-encoded, as colour pickers give them. Close codes: 1009 message too large, 1013 full
(or the place was needed: come back), 4400 bad address, 4403 not the owner, 4404 unknown session or link, 4406 other
version, 4410 session ended, 4411 link revoked.

Websocket ``/view/{token}/socket?protocol=3&receive=FEEDS&have=VERSION``
--------------------------------------------------------------------------
For viewers. They get `hello` with an empty `session`, feeds, and the events of `stream.protocol.events.VIEWER_EVENTS`,
and send ``ack`` and ``receive`` only: everything else is answered by the error ``forbidden``.
"""

from enum import StrEnum

from fitme.errors import FitmeError

PROTOCOL_VERSION = 3

CLOSE_TOO_LARGE = 1009
CLOSE_FULL = 1013
CLOSE_BAD_ADDRESS = 4400
CLOSE_FORBIDDEN = 4403
CLOSE_UNKNOWN_SESSION = 4404
CLOSE_OTHER_VERSION = 4406
CLOSE_ENDED = 4410
CLOSE_REVOKED = 4411


class Role(StrEnum):
    """What a websocket may do."""

    OWNER = "owner"
    VIEWER = "viewer"


class ProtocolError(FitmeError):
    """A message does not follow the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """Short machine-readable reason, e.g. ``bad_message``."""


class Feed(StrEnum):
    """What a page may receive besides the events."""

    RENDERS = "renders"
    """Renders of the avatar; while no page asks for them, none are drawn."""
    AVATAR = "avatar"
    """Pieces of the avatar, to draw it."""
    PARAMETERS = "parameters"
    """Pose, gaze and expression."""
    LANDMARKS = "landmarks"
    """Every `tracking` event, with landmarks; without this feed they come only when status or prompt change, or once a
    second, and without landmarks."""


DEFAULT_FEEDS = frozenset({Feed.RENDERS, Feed.LANDMARKS})

PARAMETERS_CHANNEL = "parameters"
"""Label of the data channel of a camera's peer connection over which parameters are sent, too: the page opens it
unordered and without retransmissions, and asks for no parameters over its websocket while it is open."""


class Mode(StrEnum):
    """Source of the avatar's motion."""

    MIRROR = "mirror"
    """Pose and expression of the face before the camera."""
    TURNTABLE = "turntable"
    """Turns by itself, with a neutral expression."""


class LightPreset(StrEnum):
    """Environment light; a directional light is added to it."""

    STUDIO = "studio"
    """Large soft light from above and in front, dim from below."""
    SKY = "sky"
    """Cool from above, warm from below."""
    RIM = "rim"
    """Two coloured lights from both sides, little from in front."""
    DARK = "dark"
    """Almost none, beside the directional light."""
    CAMERA = "camera"
    """Light estimated in the newest keyframe; `STUDIO` until there is one."""
    PANORAMA_STUDIO = "panorama-studio"
    """This and the next: surroundings of `fitme.render.environment.presets`, turned by the scene's `turn`."""
    PANORAMA_WINDOW = "panorama-window"
    PANORAMA_OVERCAST = "panorama-overcast"
    PANORAMA_SUNSET = "panorama-sunset"
    PANORAMA_CLUB = "panorama-club"

    @property
    def panorama(self) -> str | None:
        """Name of the surroundings, None for a light without."""
        before, _, name = self.value.partition("-")
        return name if before == "panorama" else None


class PromptCode(StrEnum):
    """Instruction to the person. Left and right are the person's own."""

    LOOK_STRAIGHT = "look_straight"
    TURN_LEFT = "turn_left"
    TURN_RIGHT = "turn_right"
    LOOK_UP = "look_up"
    LOOK_DOWN = "look_down"
    SMILE = "smile"
    OPEN_MOUTH = "open_mouth"
    COME_CLOSER = "come_closer"
    MOVE_BACK = "move_back"
    HOLD_STILL = "hold_still"
    MORE_LIGHT = "more_light"
    LESS_LIGHT = "less_light"
    UNCOVER_FACE = "uncover_face"
    SHOW_FACE = "show_face"
    ONE_PERSON = "one_person"
    SAME_PERSON = "same_person"
