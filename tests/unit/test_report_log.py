"""Reports in a job's log: enough to see how it went, few enough to leave room for all else."""

from ganservice.job import Progress
from workers.attempt.report_log import ReportLog

REPORT = Progress(
    images=16, step=2, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4,
    grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=1234.5, step_s=0.6,
)  # fmt: skip


class Diary:
    """A log of reports that come at a steady pace, by a clock of its own."""

    def __init__(self, total_images: int) -> None:
        self.lines: list[str] = []
        self.now_s = 0.0
        self.log = ReportLog(total_images, self.lines.append, lambda: self.now_s)
        self.total_images = total_images

    def train(self, every_images: int, every_s: float) -> list[str]:
        for images in range(every_images, self.total_images + 1, every_images):
            self.now_s += every_s
            self.log.add(REPORT.model_copy(update={"images": images}))
        return self.lines


def test_a_line_says_what_a_report_tells() -> None:
    assert Diary(16).train(16, 1.0) == ["16 images  loss G 0.700 D 1.300  D(x) 0.60 D(G(z)) 0.40  1,234 images/s"]


def test_of_a_short_training_the_first_and_the_last_report_are_logged() -> None:
    assert [line.split()[0] for line in Diary(1_000).train(100, 0.1)] == ["100", "1,000"]


def test_there_is_half_a_minute_between_two_lines() -> None:
    assert [line.split()[0] for line in Diary(1_000).train(100, 10.0)] == ["100", "400", "700", "1,000"]


def test_a_week_of_training_has_room_in_the_log() -> None:
    assert len(Diary(20_000_000).train(1_000, 30.0)) <= 1_001
