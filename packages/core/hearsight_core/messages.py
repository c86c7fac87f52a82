"""Every sentence people read, in English and Chinese.

Codes and field names stay English everywhere; only these texts follow `HEARSIGHT_LANGUAGE`. A text
says what happened and, where something can be done, what to do next.
"""

from typing import Literal

Language = Literal["en", "zh"]

_TEXTS: dict[str, tuple[str, str]] = {
    # requests
    "request.invalid": ("The request is not valid.", "请求无效。"),
    "request.unsupported_url": (
        "Only http:// and https:// addresses can be fetched.",
        "只能下载 http:// 或 https:// 地址。",
    ),
    "request.forbidden_address": (
        "{host} lies inside a private or reserved network and is not fetched. If it is yours, name"
        " it in HEARSIGHT_DOWNLOAD_ALLOW_HOSTS.",
        "{host} 位于私有或保留网络，不予下载。如果它属于您，请将其加入 HEARSIGHT_DOWNLOAD_ALLOW_HOSTS。",
    ),
    "auth.missing": (
        "This needs an API key. Send it as: Authorization: Bearer hs_... (hearsight reads it from"
        " HEARSIGHT_API_KEY). Make one with: hearsight keys create",
        "此操作需要 API 密钥。请发送请求头 Authorization: Bearer hs_...（hearsight 命令读取 HEARSIGHT_API_KEY）。创建密钥：hearsight keys create",
    ),
    "auth.invalid": (
        "This API key is not valid, or was revoked. Make another with: hearsight keys create",
        "该 API 密钥无效或已被撤销。请用 hearsight keys create 创建新的密钥。",
    ),
    "auth.forbidden": (
        "This API key may not do this: it lacks the scope {scope}.",
        "该 API 密钥无权执行此操作：缺少权限 {scope}。",
    ),
    "auth.foreign": (
        "This API asks for no keys, so it answers this machine only and no other site's page. Ask"
        " for keys with HEARSIGHT_AUTH=on.",
        "该 API 未启用密钥，因此只响应本机请求，不响应其他网站的页面。可用 HEARSIGHT_AUTH=on 启用密钥。",
    ),
    "auth.key_not_found": (
        "There is no key {key_id}. List them with: hearsight keys list",
        "没有编号为 {key_id} 的密钥。可用 hearsight keys list 查看。",
    ),
    "request.unknown_pool": (
        "There is no pool {pool}. Choose one of: {pools}.",
        "没有名为 {pool} 的识别池。可选：{pools}。",
    ),
    "quota.requests": (
        "This key may send {limit} requests a minute. Wait as long as Retry-After says.",
        "该密钥每分钟最多发送 {limit} 个请求。请按 Retry-After 等待后重试。",
    ),
    "quota.queued_jobs": (
        "{limit} jobs that are not done yet are as many as may wait for this owner. Wait for some"
        " to end, or cancel some.",
        "该所有者最多可有 {limit} 个未完成的任务。请等待部分任务结束，或取消一些。",
    ),
    "quota.audio_minutes": (
        "This owner has had its {limit} minutes of audio for today. Hand it in again tomorrow (UTC).",
        "该所有者今天的 {limit} 分钟音频额度已用完。请明天（UTC）再提交。",
    ),
    "overload.busy": (
        "There is too much to do at this moment ({what}). Try again as Retry-After says.",
        "当前负载过高（{what}）。请按 Retry-After 等待后重试。",
    ),
    "job.not_found": (
        "There is no job {job_id}. List the jobs with GET /api/jobs.",
        "没有编号为 {job_id} 的任务。可用 GET /api/jobs 查看任务列表。",
    ),
    "job.conflict": (
        "Job {job_id} exists already with another request. Choose another job_id, or leave it out.",
        "任务 {job_id} 已存在且请求内容不同。请更换 job_id，或不填写。",
    ),
    "job.state": (
        "Job {job_id} is {status}; only a job that is {wanted} allows this.",
        "任务 {job_id} 当前状态为 {status}；此操作只适用于状态为 {wanted} 的任务。",
    ),
    "job.media_removed": (
        "The media of job {job_id} was removed after its time. Hand it in again as a new job.",
        "任务 {job_id} 的媒体文件已超过保留期限并被删除。请重新提交为新任务。",
    ),
    "job.cancelled": ("The job was cancelled.", "任务已取消。"),
    "upload.too_large": (
        "The upload is over the limit of {limit_bytes} bytes (HEARSIGHT_MAX_UPLOAD_BYTES).",
        "上传文件超过 {limit_bytes} 字节的上限（HEARSIGHT_MAX_UPLOAD_BYTES）。",
    ),
    "upload.unsupported": (
        "This file is no audio or video that can be read. Upload a media file such as MP3, WAV,"
        " FLAC, OGG, MP4, MKV or WebM.",
        "该文件不是可识别的音频或视频。请上传 MP3、WAV、FLAC、OGG、MP4、MKV、WebM 等媒体文件。",
    ),
    # HTTP alone
    "http.bad_request": (
        "The request can't be read. Send it as /docs shows.",
        "无法读取该请求。请按 /docs 所示发送。",
    ),
    "http.not_found": (
        "Nothing is at this path. The paths are listed at /docs.",
        "此路径不存在。可用路径见 /docs。",
    ),
    "http.method_not_allowed": (
        "This path does not take this method; the header Allow names those it takes.",
        "此路径不支持该方法；可用方法见 Allow 响应头。",
    ),
    "http.content_too_large": (
        "The request is too large. Send recordings to POST /api/upload.",
        "请求内容过大。请用 POST /api/upload 上传录音。",
    ),
    "http.too_slow": (
        "The body of the request came too slowly, or not at all. Send it again, in one go.",
        "请求内容发送过慢或没有发送。请重新完整发送。",
    ),
    "http.range_not_satisfiable": (
        "The range begins beyond the end of the media.",
        "请求的范围超出媒体末尾。",
    ),
    # network
    "network.dns": (
        "The name {host} could not be resolved. Check the address and the DNS of this machine.",
        "无法解析域名 {host}。请检查地址以及本机的 DNS 设置。",
    ),
    "network.refused": (
        "{host} refused or cut the connection. Check that the site is up.",
        "{host} 拒绝或中断了连接。请确认该网站可以访问。",
    ),
    "network.timeout": (
        "{host} did not answer in time. Try again later, or raise HEARSIGHT_DOWNLOAD_TIMEOUT_S.",
        "{host} 响应超时。请稍后重试，或调大 HEARSIGHT_DOWNLOAD_TIMEOUT_S。",
    ),
    "network.tls": (
        "No trusted encrypted connection to {host}. Its certificate may be expired or self-signed.",
        "无法与 {host} 建立可信的加密连接。证书可能已过期或为自签名。",
    ),
    "network.http_4xx": (
        "{host} refused the request with HTTP {status}. Check that the address opens in a browser.",
        "{host} 以 HTTP {status} 拒绝了请求。请确认该地址能在浏览器中打开。",
    ),
    "network.rate_limited": (
        "{host} has had too many requests from this server. Try again later, or upload the file.",
        "{host} 收到本服务器的请求过多。请稍后重试，或改为上传文件。",
    ),
    "network.http_5xx": (
        "{host} failed with HTTP {status}. Try again later.",
        "{host} 返回 HTTP {status} 错误。请稍后重试。",
    ),
    # media
    "media.not_found": (
        "Nothing is at this address any more (HTTP {status}). Check it in a browser.",
        "该地址已无内容（HTTP {status}）。请在浏览器中确认。",
    ),
    "media.private": (
        "The source wants a login. Make it public, or download it yourself and upload the file.",
        "该内容需要登录。请将其公开，或自行下载后上传文件。",
    ),
    "media.geo_blocked": (
        "The source is not available in the country of this server. Upload the file instead.",
        "该内容在服务器所在地区不可用。请改为上传文件。",
    ),
    "media.bot_check": (
        "The site asks for a proof of being human. Try again later, or upload the file.",
        "网站要求进行人机验证。请稍后重试，或上传文件。",
    ),
    "media.live": (
        "Live streams can't be transcribed. Try again when the recording is out.",
        "无法转写直播流。请在录像发布后重试。",
    ),
    "media.unsupported": (
        "The source is no audio or video that can be read. Give the address of the media itself.",
        "该来源不是可识别的音频或视频。请提供媒体文件本身的地址。",
    ),
    "media.too_large": (
        "The media is over the limit of {limit_bytes} bytes (HEARSIGHT_MAX_DOWNLOAD_BYTES).",
        "媒体超过 {limit_bytes} 字节的上限（HEARSIGHT_MAX_DOWNLOAD_BYTES）。",
    ),
    "media.too_long": (
        "The recording is over the limit of {limit_s} seconds (HEARSIGHT_MAX_DURATION_S).",
        "录音超过 {limit_s} 秒的上限（HEARSIGHT_MAX_DURATION_S）。",
    ),
    "media.clip_outside": (
        "The recording is {duration_s} seconds long; nothing is there from {from_s} seconds on.",
        "录音时长为 {duration_s} 秒，从第 {from_s} 秒起没有内容。",
    ),
    "media.no_audio": (
        "The media has no audio track, so there is nothing to transcribe.",
        "该媒体没有音轨，无可转写内容。",
    ),
    "media.corrupt": (
        "The media is damaged and can't be decoded. Download or export it again.",
        "媒体已损坏，无法解码。请重新下载或导出。",
    ),
    # recognition
    "asr.out_of_memory": (
        "The device ran out of memory. Lower HEARSIGHT_ASR_BATCH_SIZE or use a smaller model.",
        "设备内存不足。请调小 HEARSIGHT_ASR_BATCH_SIZE 或使用更小的模型。",
    ),
    "asr.device_failed": (
        "The device failed while this was recognised. If a retry fails the same way, look at the"
        " ASR worker's log and at the GPU (nvidia-smi).",
        "识别过程中设备发生故障。如重试后仍失败，请查看识别进程的日志并检查 GPU（nvidia-smi）。",
    ),
    "asr.hung": (
        "The engine hung while this was recognised, and its worker was replaced. Retry the job; if"
        " slow hardware needs longer, raise HEARSIGHT_ASR_BATCH_TIMEOUT_S.",
        "识别引擎卡死，其进程已被替换。请重试；如因硬件较慢而需要更长时间，请调大"
        " HEARSIGHT_ASR_BATCH_TIMEOUT_S。",
    ),
    "asr.model_missing": (
        "The model {model} can't be loaded. Check HEARSIGHT_MODEL: a name known to faster-whisper"
        " (needs the hub) or the path of a converted model.",
        "无法加载模型 {model}。请检查 HEARSIGHT_MODEL：应为 faster-whisper 支持的名称（需联网）或已转换模型的路径。",
    ),
    "asr.device_missing": (
        "HEARSIGHT_DEVICE asks for {device}, but none is here. Check the driver, or set it to cpu.",
        "HEARSIGHT_DEVICE 要求使用 {device}，但未找到该设备。请检查驱动，或将其设为 cpu。",
    ),
    "asr.unsupported_language": (
        "The model {model} can't do this ({wanted}). Leave the option out, or set HEARSIGHT_MODEL to a"
        " multilingual model such as large-v3-turbo.",
        "模型 {model} 不支持此操作（{wanted}）。请去掉该选项，或将 HEARSIGHT_MODEL 设为多语言模型，如 large-v3-turbo。",
    ),
    "asr.unsupported_option": (
        "The engine of this pool can't be told {option}. Leave the option out, or choose another pool.",
        "该识别池的引擎不支持选项 {option}。请去掉该选项，或选择其他识别池。",
    ),
    "asr.remote_key": (
        "{host} does not take our key (HTTP {status}). Check HEARSIGHT_OPENAI_API_KEY.",
        "{host} 不接受密钥（HTTP {status}）。请检查 HEARSIGHT_OPENAI_API_KEY。",
    ),
    "asr.remote_model": (
        "{host} knows no model {model}, or offers no transcription there (HTTP {status}). Check HEARSIGHT_OPENAI_MODEL and HEARSIGHT_OPENAI_URL.",
        "{host} 没有模型 {model}，或该地址不提供转写服务（HTTP {status}）。请检查 HEARSIGHT_OPENAI_MODEL 和 HEARSIGHT_OPENAI_URL。",
    ),
    "asr.remote_too_large": (
        "{host} takes no request of {size_bytes} bytes (HTTP {status}). Let it, or what stands before it, take 2 MB.",
        "{host} 不接受 {size_bytes} 字节的请求（HTTP {status}）。请将其（或其前端代理）的上限设为至少 2 MB。",
    ),
    "asr.remote_refused": (
        "{host} refused to recognise (HTTP {status}). See the remark for its reason.",
        "{host} 拒绝识别（HTTP {status}）。原因见备注。",
    ),
    "asr.remote_busy": (
        "{host} has had too many requests. Try again later, or lower HEARSIGHT_OPENAI_REQUESTS.",
        "{host} 收到的请求过多。请稍后重试，或调小 HEARSIGHT_OPENAI_REQUESTS。",
    ),
    "asr.remote_unavailable": (
        "{host} does not recognise at this moment. Check that it is up, and HEARSIGHT_OPENAI_URL.",
        "{host} 目前无法识别。请确认其正在运行，并检查 HEARSIGHT_OPENAI_URL。",
    ),
    "asr.remote_answer": (
        "{host} answered, but with no transcription as verbose_json. Check HEARSIGHT_OPENAI_URL, and that the model has timestamps, as whisper-1 does.",
        "{host} 的回答不是 verbose_json 格式的转写结果。请检查 HEARSIGHT_OPENAI_URL，并确认模型支持时间戳（如 whisper-1）。",
    ),
    "asr.failed": (
        "Recognition failed. Retry the job; if it fails again, see the log of the ASR worker.",
        "识别失败。请重试；如再次失败，请查看识别进程的日志。",
    ),
    # our own stores
    "storage.database": (
        "The database does not answer. Check PostgreSQL with: hearsight doctor",
        "数据库无响应。请用 hearsight doctor 检查 PostgreSQL。",
    ),
    "storage.reader_role": (
        "The database user may not make or change the role {role}. Give it CREATEROLE, or have an administrator make that role, GRANT it SELECT on queue_load, and unset HEARSIGHT_DATABASE_READER_PASSWORD.",
        "数据库用户无权创建或修改角色 {role}。请授予其 CREATEROLE，或由管理员创建该角色并授予 queue_load 的 SELECT 权限，再取消设置 HEARSIGHT_DATABASE_READER_PASSWORD。",
    ),
    "storage.redis": (
        "Redis does not answer. Check it with: hearsight doctor",
        "Redis 无响应。请用 hearsight doctor 检查。",
    ),
    "storage.object_store": (
        "The object store does not answer as it should. Check it with: hearsight doctor",
        "对象存储异常。请用 hearsight doctor 检查。",
    ),
    "storage.denied": (
        "The object store refuses access. Check its credentials and the rights on the bucket or"
        " folder that HEARSIGHT_STORAGE_URL names, then retry the job.",
        "对象存储拒绝访问。请检查其凭据，以及对 HEARSIGHT_STORAGE_URL 所指存储桶或文件夹的权限，"
        "然后重试该任务。",
    ),
    "storage.disk_full": (
        "No room is left on the disk. Free some space, then retry the job.",
        "磁盘空间不足。请清理后重试。",
    ),
    "worker.lost": (
        "The worker died or was cut off in the middle of this task. If a retry ends the same way,"
        " look at how the worker ended: it may need more memory.",
        "处理该任务的进程中途退出或失联。如重试后仍如此，请查看该进程的退出原因：可能需要更多内存。",
    ),
    "worker.lease_lost": ("Another worker owns the task now.", "任务已由其他进程接管。"),
    "worker.draining": (
        "This worker is about to end; the task goes back to the queue.",
        "该进程即将退出，任务将重新排队。",
    ),
    "internal.unexpected": (
        "Something went wrong on our side. Retry; if it stays, report it with the request id.",
        "系统内部错误。请重试；如仍失败，请附上请求编号反馈。",
    ),
    # progress
    "progress.upload_processing": ("Receiving the upload", "正在接收上传文件"),
    "progress.upload": ("Upload stored; waiting for a worker", "上传完成，等待处理"),
    "progress.pending": ("Waiting for a download worker", "等待下载"),
    "progress.download_start": ("Starting the download", "开始下载"),
    "progress.download": ("Downloading", "正在下载"),
    "progress.download_first_entry": (
        "Downloading the first of {entries} entries of the playlist",
        "正在下载播放列表（共 {entries} 项）的第一项",
    ),
    "progress.asr_preprocessing": ("Finding the speech", "正在检测语音"),
    "progress.asr_recognizing": ("Recognising", "正在识别"),
    "progress.asr_postprocessing": ("Putting the transcript together", "正在整理文字稿"),
    "progress.completed": ("Completed", "已完成"),
    "progress.no_speech": ("Completed: no speech was found", "已完成：未检测到语音"),
    "progress.truncated": (
        "Completed: the media breaks off before its end; this is what there is",
        "已完成：媒体在结尾前中断，以上为已有内容",
    ),
    "progress.cancelled": ("Cancelled", "已取消"),
    "progress.retry_at": (
        "{error} Next try in {delay_s} s (attempt {attempt} of {attempts}).",
        "{error} 将在 {delay_s} 秒后重试（第 {attempt} 次，共 {attempts} 次）。",
    ),
}


def render(key: str, language: Language, **values: object) -> str:
    """The text of `key` in `language`, with `values` put in.

    Raises:
        KeyError: the key or a value that the text names is missing, which a test rules out for
            every error class.
    """
    english, chinese = _TEXTS[key]
    return (chinese if language == "zh" else english).format_map(values)


def keys() -> frozenset[str]:
    """Every key that has a text."""
    return frozenset(_TEXTS)
