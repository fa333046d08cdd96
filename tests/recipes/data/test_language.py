"""The language of texts: by letters, and English by its function words."""

import pytest

from recipes.data.language import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The room was clean and the staff was very helpful, but it is not cheap", "en"),
        ("the hotel is not far from the station and it has a pool", "en"),
        ("房间很干净，服务员也很热情，就是 wifi 不太好", "zh"),
        ("部屋はとてもきれいで、スタッフも親切でした。東京駅から近い", "ja"),
        ("방이 깨끗하고 직원이 친절했습니다", "ko"),
        ("Das Zimmer war sauber und die Leute waren in der Tat sehr nett, es war nicht teuer", None),
        ("La chambre était propre et le personnel à la réception très aimable, on y reviendra", None),
        ("La habitación a la que fuimos era limpia y el personal no era malo", None),
        ("Комната была чистой", None),
        ("a1 b2 w17 x9", None),
        ("12 34 !!", None),
        ("", None),
    ],
)
def test_one_text(text: str, language: str | None) -> None:
    assert guess_language([text] * 3) == language


def test_most_texts_decide() -> None:
    assert guess_language(["房间很干净，服务员也很热情"] * 9 + ["this is the one that is in English"]) == "zh"
    assert guess_language([]) is None
