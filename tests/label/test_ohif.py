"""OHIF as MONAI Label ships it, in a real browser: the study, words typed, the mask on the screen.

With SCREENSHOTS=FOLDER the screenshots of tools/monailabel/README.md are written there.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import START_S, DicomServer

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ABSENT = (
    "NOT TESTED: OHIF, as no Chromium is installed here (Debian: apt-get install chromium chromium-driver)"
)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1400,900", "--enable-unsafe-swiftshader"),
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(ABSENT)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(START_S)
    yield driver
    driver.quit()


def test_words_typed_in_ohif_put_a_mask_on_the_screen(browser, dicom: DicomServer, tmp_path):
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    missed = (StaleElementReferenceException, NoSuchElementException)

    def wait(condition, seconds=START_S):
        # OHIF draws its page anew again and again
        return WebDriverWait(browser, seconds, 2, missed).until(condition)

    def text() -> str:
        return str(browser.execute_script("return document.body.innerText"))

    def click(place: str) -> None:
        def clicked(_) -> bool:
            browser.execute_script("arguments[0].click()", browser.find_element(By.XPATH, place))
            return True

        wait(clicked)

    def write(field: str, words: str) -> None:
        def written(_) -> bool:
            element = browser.find_element(By.ID, field)
            # Typed over: emptied first, the server's field ends OHIF's page, which takes '' for a URL
            element.send_keys(Keys.CONTROL, "a")
            element.send_keys(words, Keys.TAB)  # it takes the text when the field is left
            return browser.find_element(By.ID, field).get_attribute("value") == words

        wait(written)

    def screenshot(path: Path) -> np.ndarray:
        browser.save_screenshot(str(path))
        image = Image.open(path).convert("RGB")
        image.quantize(128).save(path, optimize=True)
        return np.asarray(image).astype(int)

    kept = Path(os.environ.get("SCREENSHOTS", tmp_path))
    url = dicom.server.url
    browser.get(f"{url}/ohif/")
    wait(lambda _: dicom.name in text())

    browser.get(f"{url}/ohif/monai-label?StudyInstanceUIDs={dicom.study}")
    click("//*[text()='Confirm and Hide']")
    wait(lambda _: re.search(r"\(\d+/\d+\)", text()))  # slices are there
    write("monailabelServerURL", f"{url}/")
    click("//button[contains(@class, 'actionButton')]")
    click("//a[contains(text(), 'Options')]")
    write("infermedvlm_organprompt", "the liver; the spleen, left of the stomach")
    screenshot(kept / "ohif_words.png")
    click("//*[text()='Confirm']")
    time.sleep(3)
    before = screenshot(tmp_path / "before.png")
    click("//button[@title='Run Segmentation']")
    wait(lambda _: "Running Segmentation - Successful" in text() or "Failed to Run" in text())
    assert "Failed to Run" not in text()
    time.sleep(3)
    after = screenshot(kept / "ohif_mask.png")

    # In the left viewport, which is axial, each of the two masks gives a colour of its own to what was grey.
    def colourful(image: np.ndarray) -> np.ndarray:
        return image.max(axis=2) - image.min(axis=2) > 40

    before, after = before[80:640, 290:560], after[80:640, 290:560]
    masked = after[colourful(after) & ~colourful(before)]
    _, counts = np.unique(masked.argsort(axis=1), axis=0, return_counts=True)  # by the order of R, G and B
    assert np.count_nonzero(counts > 100) == 2, counts
